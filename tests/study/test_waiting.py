"""Which trials wait for a place, as the record alone says it."""

from __future__ import annotations

import dataclasses
import datetime

import pytest
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.spaces.range import Range
from loratune.study.pruners import PRUNERS, Halving, Promote
from loratune.study.records import TrialRecord
from loratune.study.waiting import (
    latest_first_pause,
    leading,
    next_pause,
    paused_at,
    rung_losses,
    waiting,
)
from made_up_studies import make_point

AT = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
PARAMS = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16.0)
PROMOTE = Promote()


def trial(number: int = 1, **values) -> TrialRecord:
    given = {
        "number": number,
        "params": PARAMS,
        "seed": 0,
        "source": "tpe",
        "state": "running",
        "reason": None,
        "value": None,
        "rounds": 1,
        "attempt": 0,
        "checkpoint": None,
        "adapter": None,
        "started_at": AT,
        "finished_at": None,
    }
    return TrialRecord(**{**given, **values})


def warm(ratio: float) -> LoraParams:
    return dataclasses.replace(PARAMS, warmup_ratio=ratio)


@pytest.mark.parametrize(
    ("values", "rung"),
    [
        ({"rounds": 0}, None),
        ({"rounds": 1}, 1),
        ({"rounds": 2}, 2),
        ({"rounds": 3}, None),
        ({"rounds": 4}, 4),
        ({"rounds": 6}, None),
        ({"rounds": 4, "state": "pruned"}, None),
        ({"rounds": 2, "source": "default"}, None),
        ({"rounds": 1, "params": warm(0.2)}, None),
        ({"rounds": 2, "params": warm(0.2)}, 2),
    ],
)
def test_a_trial_stands_at_a_rung_unless_it_is_the_default_or_still_warms_up(values, rung) -> None:
    assert paused_at(trial(**values), PROMOTE) == rung
    assert paused_at(trial(**values), Halving()) is None


def test_a_trial_that_trains_is_paused_at_its_next_rung() -> None:
    assert [next_pause(trial(rounds=rounds), PROMOTE) for rounds in range(8)] == [1, 2, 4, 4, 8, 8, 8, 8]
    assert next_pause(trial(rounds=0, params=warm(0.2)), PROMOTE) == 2
    assert next_pause(trial(rounds=0, source="default"), PROMOTE) == 8
    assert next_pause(trial(rounds=0), Halving()) == 8
    assert next_pause(trial(rounds=0), Promote(first=4)) == 4


def test_the_longest_warm_up_of_a_space_says_where_its_trials_are_paused_first() -> None:
    space = preset("tiny").space
    assert latest_first_pause(space, PROMOTE) == 1
    longer = space.replace(Range(name="warmup_ratio", low=0.0, high=0.3))
    assert latest_first_pause(longer, PROMOTE) == 4
    assert latest_first_pause(space, Halving()) == 8


def test_who_is_not_among_the_best_third_of_all_that_ever_reached_its_rung_waits() -> None:
    losses = {1: {number: float(number) for number in range(7)}, 2: {0: 0.5}}
    records = [trial(0, rounds=2, source="default"), *(trial(number) for number in range(1, 6))]
    records.append(trial(6, state="pruned"))
    assert leading(losses[1], 3) == (0, 1)
    assert waiting(records, losses, PROMOTE) == {2: 1, 3: 1, 4: 1, 5: 1}
    assert waiting(records, losses, Promote(first=2)) == {}
    for settings in PRUNERS.kinds:
        assert settings.pausing or waiting(records, losses, settings()) == {}


def test_losses_are_taken_at_rungs_alone_and_one_that_was_not_finite_is_the_worst() -> None:
    curve = [make_point(0, 1, 2.0), make_point(0, 2, 1.5), make_point(0, 3, None), make_point(1, 1, None)]
    assert rung_losses(curve) == {1: {0: 2.0, 1: float("inf")}, 2: {0: 1.5}}
