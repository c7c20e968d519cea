"""How long training takes where few trials at once leave a device idle, and where they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.app import durations
from loratune.app.durations import at_once, speed, training_seconds
from loratune.study.ladder import Ladder
from loratune.study.pruners import Promote
from made_up_studies import make_facts

RATES = ((1, 10.0), (2, 20.0), (4, 36.0), (16, 60.0))


def facts_of(**changes: Any) -> Any:
    return dataclasses.replace(make_facts(), slots=16, rows_per_second=60.0, rates=RATES, **changes)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "cores", lambda: 2)


def test_between_two_numbers_that_were_tried_a_rate_lies_in_proportion() -> None:
    facts = facts_of()
    assert [facts.rate(trials) for trials in (1, 2, 3, 4, 10, 16, 40)] == [10, 20, 28, 36, 48, 60, 60]


def test_where_no_number_was_tried_one_rate_stands_for_all() -> None:
    facts = dataclasses.replace(facts_of(), rates=())
    assert {facts.rate(trials) for trials in (1, 5, 16)} == {60.0}


@given(trials=st.integers(1, 40))
def test_a_rate_is_never_outside_of_what_was_measured(trials: int) -> None:
    assert 10.0 <= facts_of().rate(trials) <= 60.0


def test_no_worker_trains_more_trials_than_there_are() -> None:
    facts = facts_of()
    assert speed(facts, trials=1, workers=2) == 10.0
    assert speed(facts, trials=2, workers=2) == 20.0
    assert speed(facts, trials=5, workers=2) == 2 * facts.rate(3)
    assert speed(facts, trials=64, workers=1) == 60.0


def test_on_a_cpu_workers_beyond_its_cores_add_nothing() -> None:
    facts = dataclasses.replace(facts_of(), rates=())
    assert not facts.model.on_gpu
    assert speed(facts, trials=8, workers=4) == 2 * 60.0


def on_gpus(facts: Any, count: int) -> Any:
    model = dataclasses.replace(facts.model, device="cuda:0")
    return dataclasses.replace(facts, model=model, environment={**facts.environment, "gpus": str(count)})


def test_workers_that_share_a_gpu_are_together_no_faster_than_one() -> None:
    alone, two = on_gpus(facts_of(), 1), on_gpus(facts_of(), 2)
    assert alone.model.on_gpu
    assert speed(alone, trials=4, workers=2) == speed(alone, trials=4, workers=1) == 36.0
    assert speed(two, trials=4, workers=4) == speed(two, trials=4, workers=2) == 40.0


def test_no_trials_at_all_have_a_speed_that_can_be_divided_by() -> None:
    assert speed(facts_of(), trials=0, workers=2) > 0


def test_a_quarter_of_all_trials_is_trained_at_once() -> None:
    assert at_once(facts_of(), trials=24, workers=1) == 6
    assert at_once(facts_of(), trials=100, workers=1) == 16


def test_the_steps_above_a_search_take_as_long_as_their_few_trials_do() -> None:
    ladder = Ladder(examples=10_000, trial=100, steps=2)
    trials = ladder.most_trials(Promote())
    search = at_once(facts_of(), trials=trials, workers=1)
    (below, last) = ladder.planned(trials)
    assert (below.count, last.count) == (2, 1)
    assert training_seconds(ladder, facts_of(), trials=trials, workers=1) == pytest.approx(
        ladder.searching / facts_of().rate(search)
        + 2 * ladder.new_examples(1) / 20.0
        + ladder.new_examples(2) / 10.0
    )
