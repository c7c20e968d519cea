"""Whom to stop at a rung."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.search.pruners import PEERS, decide, in_warmup
from loratune.spaces.params import LoraParams

losses = st.one_of(st.floats(0.1, 10.0), st.just(math.inf), st.sampled_from([1.0, 2.0, 3.0]))
rungs = st.dictionaries(st.integers(0, 200), losses, min_size=1, max_size=30)


@given(rungs, st.data())
def test_the_order_of_the_slots_changes_nothing(values: dict[int, float], data: st.DataObject) -> None:
    arrived = data.draw(st.permutations(list(values)))[: data.draw(st.integers(0, len(values)))]
    shuffled = dict(data.draw(st.permutations(list(values.items()))))
    stopped = decide(2, values, arrived)
    assert stopped == decide(2, shuffled, arrived[::-1])
    # Asking trial by trial says the same as asking for all at once.
    assert stopped == {trial for trial in arrived if decide(2, values, [trial])}


@given(rungs)
def test_the_best_at_a_rung_goes_on(values: dict[int, float]) -> None:
    stopped = decide(4, values, values)
    assert not any(values[trial] == min(values.values()) for trial in stopped)


@given(rungs)
def test_at_least_the_better_half_goes_on_and_never_a_worse_one_instead(values: dict[int, float]) -> None:
    stopped = decide(2, values, values)
    going = set(values) - stopped
    assert len(going) >= len(values) / 2
    assert all(values[trial] < values[other] for trial in going for other in stopped)


@given(rungs, st.data())
def test_a_lower_loss_never_stops_a_trial_that_went_on(values: dict[int, float], data: st.DataObject) -> None:
    trial = data.draw(st.sampled_from(sorted(values)))
    better = {**values, trial: min(values[trial], data.draw(losses))}
    if trial not in decide(2, values, values):
        assert trial not in decide(2, better, better)


@given(st.lists(st.floats(0.1, 9.0), min_size=8, max_size=20, unique=True))
def test_of_different_losses_the_worse_half_is_stopped(losses: list[float]) -> None:
    values = dict(enumerate(losses))
    assert len(decide(2, values, values)) == len(values) // 2


def test_nobody_is_stopped_after_the_first_or_the_last_round() -> None:
    values = {trial: float(trial) for trial in range(20)}
    assert [round_number for round_number in range(1, 9) if decide(round_number, values, values)] == [2, 4]


def test_nobody_is_stopped_with_too_few_peers() -> None:
    values = {trial: float(trial) for trial in range(PEERS)}
    assert not decide(2, values, values)
    assert decide(2, {**values, PEERS: 9.0}, values)


def test_an_exempt_trial_counts_and_goes_on() -> None:
    values = {0: 9.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
    assert decide(2, values, values, exempt={0}) == {4}


def test_nobody_is_stopped_without_a_pruner() -> None:
    values = {trial: float(trial) for trial in range(20)}
    assert not decide(2, values, values, pruner="none")


def test_trials_that_came_long_ago_still_count() -> None:
    good_past = {trial: 1.0 + trial / 100 for trial in range(8)}
    assert decide(2, {**good_past, 8: 2.0, 9: 0.5}, arrived={8, 9}) == {8}


@pytest.mark.parametrize(
    ("ratio", "round_number", "rising"), [(0.3, 2, True), (0.25, 2, False), (0.3, 4, False)]
)
def test_a_trial_is_in_warmup_while_its_learning_rate_rises(
    params: LoraParams, ratio: float, round_number: int, rising: bool
) -> None:
    assert in_warmup(dataclasses.replace(params, warmup_ratio=ratio), round_number) is rising
