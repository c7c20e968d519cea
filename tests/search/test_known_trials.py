"""What is kept up as trials go on is what looking at all of them would find."""

from __future__ import annotations

import dataclasses
import datetime
import math
import random
from collections import Counter

import pytest
from loratune.search.known_trials import KnownTrials
from loratune.spaces.presets import preset
from loratune.study.pruners import Promote
from loratune.study.records import FINAL_STATES, TrialRecord
from made_up_studies import make_point

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RUNGS = (1, 2, 4, 8)
SPACE = preset("tiny").space
DEFAULT = SPACE.closest(preset("tiny").default)


def begun(number: int) -> TrialRecord:
    return TrialRecord(
        number=number,
        params=dataclasses.replace(DEFAULT, learning_rate=1e-3 * (1 + number / 1000)),
        seed=0,
        source="tpe",
        state="running",
        reason=None,
        value=None,
        rounds=0,
        attempt=0,
        checkpoint=None,
        adapter=None,
        started_at=AT,
        finished_at=None,
    )


@pytest.mark.parametrize("seed", range(3))
def test_after_any_course_of_events_it_knows_what_a_look_at_all_trials_finds(seed: int) -> None:
    rng = random.Random(seed)
    ends = [state for state in FINAL_STATES if state != "complete"]
    known = KnownTrials(SPACE, {round_number: round_number in RUNGS for round_number in range(1, 9)})
    losses: dict[int, dict[int, float | None]] = {}
    for _ in range(1000):
        running = known.running()
        if not running or (len(running) < 8 and rng.random() < 0.3):
            if known.trials and rng.random() < 0.2:
                known.duplicate(rng.randrange(len(known.trials)))
            known.begin(begun(len(known.trials)))
            continue
        trial = known.trials[rng.choice(running)]
        round_number = trial.rounds + 1
        loss = rng.choice([1.0, 1.5, 2.0, None]) if round_number in RUNGS else None
        known.note(make_point(trial.number, round_number, loss))
        losses.setdefault(trial.number, {})[round_number] = loss
        state = "complete" if round_number == 8 and loss else rng.choice(["running"] * 40 + ends)
        known.replace(
            dataclasses.replace(
                trial,
                rounds=round_number,
                state="failed" if round_number == 8 and state == "running" else state,
                value=loss if state == "complete" else None,
                finished_at=None if state == "running" else AT,
            )
        )
    trials = known.trials.values()
    assert known.running() == tuple(trial.number for trial in trials if trial.state == "running")
    for state, count in known.counts().items():
        assert count == sum(trial.state == state for trial in trials)
    assert +known.ended_after() == Counter(trial.rounds for trial in trials if trial.state != "running")
    complete = sorted((trial.value, trial.number) for trial in trials if trial.value is not None)
    assert complete, "the course of events has no complete trial"
    assert known.best(4) == tuple(number for _, number in complete[:4])
    assert known.at_least_as_good(None, 1.5) == sum(value <= 1.5 for value, _ in complete)
    for round_number, values in known.rungs().items():
        assert round_number in RUNGS
        assert values == {
            number: math.inf if curve[round_number] is None else curve[round_number]
            for number, curve in losses.items()
            if round_number in curve
        }
    for past, number in zip(known.history(), known._asked, strict=True):
        trial = known.trials[number]
        assert (past.state, past.value) == (trial.state, trial.value)
        assert past.curve == {q: loss for q, loss in losses.get(number, {}).items() if loss is not None}
    # As the study is read again after an interruption, all of a trial at once.
    again = KnownTrials(SPACE, {round_number: round_number in RUNGS for round_number in range(1, 9)})
    for trial in trials:
        again.begin(trial)
        for round_number, loss in losses.get(trial.number, {}).items():
            again.note(make_point(trial.number, round_number, loss))
    assert again.rungs() == known.rungs()
    assert again.best(99) == known.best(99)


def test_points_that_are_new_are_beside_those_of_before_and_change_nothing() -> None:
    known = KnownTrials(SPACE, dict.fromkeys(range(1, 9), True))
    for number in range(2):
        known.begin(begun(number))
    known.note(make_point(0, 1, 2.0))
    assert known.rungs([make_point(1, 1, None)]) == {1: {0: 2.0, 1: math.inf}}
    assert known.rungs() == {1: {0: 2.0}}


def test_a_trial_that_waits_is_told_to_the_sampler_as_stopped_until_it_has_its_place() -> None:
    known = KnownTrials(SPACE, dict.fromkeys(range(1, 9), True), Promote())
    known.begin(begun(0))
    known.begin(begun(1))
    for number in (0, 1):
        known.replace(dataclasses.replace(known.trials[number], rounds=1))
        known.note(make_point(number, 1, 2.0))
    assert (known.waiting(), known.going()) == ({0, 1}, ())
    assert known.running() == (0, 1)
    counts = known.counts()
    assert (counts["running"], counts["waiting"], counts["pruned"]) == (0, 2, 0)
    revision = known.revision
    known.give_place(1)
    assert known.revision > revision
    known.replace(dataclasses.replace(known.trials[1], attempt=1))  # taken up again, and no round later
    assert (known.waiting(), known.going()) == ({0}, (1,))
    assert [past.state for past in known.history()] == ["pruned", "running"]
    assert [dict(past.curve) for past in known.history()] == [{1: 2.0}, {1: 2.0}]
    known.replace(dataclasses.replace(known.trials[1], rounds=2))
    known.note(make_point(1, 2, 1.5))
    assert known.waiting() == {0, 1}
    known.replace(dataclasses.replace(known.trials[0], state="pruned", reason="why", finished_at=AT))
    assert (known.waiting(), known.running()) == ({1}, (1,))
    assert +known.ended_after() == {1: 1}
