"""Where a search stands, as long as little of it is known, and where a terminal is narrow."""

from __future__ import annotations

import dataclasses

import pytest
from loratune.command.live_view import live_table
from loratune.command.standing import rates
from loratune.study.events import WaitingTrial
from made_up_progress import printed, progress


def test_neither_speed_nor_time_left_is_told_before_a_trial_has_ended():
    begun = dataclasses.replace(progress(), counts={"running": 3})
    assert begun.seconds_left is not None
    assert not any("trials/h" in words for words in rates(begun))
    assert rates(begun)[-1] == "time left not known yet"
    one = dataclasses.replace(progress(), counts={"complete": 1, "running": 3})
    assert any("trials/h" in words for words in rates(one))
    assert rates(one)[-1].startswith("about ")


@pytest.mark.parametrize("width", [40, 60, 80])
def test_what_waits_is_not_cut_in_a_narrow_terminal(width):
    params = progress().running[0].params
    waits = tuple(
        WaitingTrial(trial=20 + rung, params=params, round=rung, eval_loss=1.0 + rung) for rung in (1, 2, 4)
    )
    shown = dataclasses.replace(progress(), waiting=waits)
    lines = printed(lambda out: out.print(live_table(shown, (), width)), width).splitlines()
    begins = next(number for number, line in enumerate(lines) if line.strip().startswith("waiting: "))
    said = " ".join(" ".join(line.split()) for line in lines[begins:])
    assert said.strip() == (
        "waiting: 1 after round 1 (the best 2.0000), 1 after round 2 (the best 3.0000), "
        "1 after round 4 (the best 5.0000)"
    )
