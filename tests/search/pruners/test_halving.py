"""Whom successive halving stops at a rung."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from hypothesis import given
from hypothesis import strategies as st
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.halving import HalvingPruner
from loratune.study.pruners import Halving

PEERS = Halving().peers

losses = st.one_of(st.floats(0.1, 10.0), st.just(math.inf), st.sampled_from([1.0, 2.0, 3.0]))
rungs = st.dictionaries(st.integers(0, 200), losses, min_size=1, max_size=30)


def decide(
    rung: int, values: Mapping[int, float], arrived: Collection[int], settings: Halving | None = None
) -> frozenset[int]:
    arrivals = Arrivals(rung=rung, arrived=frozenset(arrived), losses={rung: values})
    return HalvingPruner(settings=settings or Halving()).decide(arrivals).stop


@given(rungs, st.data(), st.sampled_from([1, 2, 4, 8]))
def test_a_study_of_before_there_were_settings_is_decided_as_it_was(
    values: dict[int, float], data: st.DataObject, rung: int
) -> None:
    arrived = data.draw(st.sets(st.sampled_from(sorted(values))))
    then: set[int] = set()
    if rung in (2, 4) and len(values) > 4:
        last_to_go_on = sorted(values.values())[math.ceil(len(values) / 2) - 1]
        then = {trial for trial in arrived if values[trial] > last_to_go_on}
    assert decide(rung, values, arrived) == then


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
    assert [rung for rung in (1, 2, 4, 8) if decide(rung, values, values)] == [2, 4]


def test_nobody_is_stopped_with_too_few_peers() -> None:
    values = {trial: float(trial) for trial in range(PEERS)}
    assert not decide(2, values, values)
    assert decide(2, {**values, PEERS: 9.0}, {*values, PEERS})


def test_its_numbers_are_gone_by() -> None:
    values = {trial: float(trial) for trial in range(9)}
    assert decide(2, values, values, Halving(factor=3)) == set(range(3, 9))
    assert decide(1, values, values, Halving(first=1)) == set(range(5, 9))
    assert decide(2, values, values, Halving(first=4)) == set()
    assert decide(2, values, values, Halving(peers=9)) == set()


def test_trials_that_came_long_ago_still_count() -> None:
    good_past = {trial: 1.0 + trial / 100 for trial in range(8)}
    assert decide(2, {**good_past, 8: 2.0, 9: 0.5}, arrived={8, 9}) == {8}
