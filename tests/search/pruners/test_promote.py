"""Who waits at a rung, who has earned a place, and who never will."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.promote import PromotePruner
from loratune.study.pruners import Promote

PRUNER = PromotePruner(settings=Promote())
RUNGS = (1, 2, 4)


@st.composite
def records(draw: st.DrawFn) -> tuple[dict[int, dict[int, float]], set[int]]:
    """Losses by rung, and who waits: some of the trials, each at the last rung that it has reached."""
    reached = draw(st.dictionaries(st.integers(0, 60), st.integers(1, 3), max_size=40))
    losses: dict[int, dict[int, float]] = {rung: {} for rung in RUNGS}
    for trial, count in reached.items():
        for rung in RUNGS[:count]:
            losses[rung][trial] = draw(st.one_of(st.floats(0.1, 9.0), st.sampled_from([1.0, 2.0])))
    return losses, draw(st.sets(st.sampled_from(sorted(reached)))) if reached else set()


def shuffled(losses: dict[int, dict[int, float]], rng: random.Random) -> dict[int, dict[int, float]]:
    found = {}
    for rung in rng.sample(list(losses), len(losses)):
        items = list(losses[rung].items())
        rng.shuffle(items)
        found[rung] = dict(items)
    return found


def stands(trial: int, losses: dict[int, dict[int, float]]) -> int:
    return max(rung for rung in RUNGS if trial in losses[rung])


@given(
    records(), st.randoms(use_true_random=False), st.dictionaries(st.sampled_from(RUNGS), st.integers(0, 9))
)
def test_who_goes_on_follows_from_the_record_and_from_no_order_of_it(record, rng, to_come) -> None:
    losses, waits = record
    other = shuffled(losses, rng)
    again = set(rng.sample(sorted(waits), len(waits)))
    assert PRUNER.earned(waits, losses) == PRUNER.earned(again, other)
    assert PRUNER.foremost(waits, losses) == PRUNER.foremost(again, other)
    assert PRUNER.hopeless(waits, losses, to_come) == PRUNER.hopeless(again, other, to_come)


@given(records())
def test_the_highest_rung_goes_first_and_the_best_of_it(record) -> None:
    losses, waits = record
    in_turn = PRUNER.foremost(waits, losses)
    assert set(in_turn) == waits
    keys = [(-stands(trial, losses), losses[stands(trial, losses)][trial], trial) for trial in in_turn]
    assert keys == sorted(keys)
    earned = PRUNER.earned(waits, losses)
    assert list(earned) == [trial for trial in in_turn if trial in earned]


@given(records())
def test_whoever_is_among_the_best_third_of_its_rung_has_earned_a_place_and_nobody_else(record) -> None:
    losses, waits = record
    for trial in waits:
        here = losses[stands(trial, losses)]
        better = sum((here[other], other) < (here[trial], trial) for other in here)
        assert (trial in PRUNER.earned(waits, losses)) == (better < len(here) // 3)


@given(records(), st.integers(0, 8), st.randoms(use_true_random=False))
def test_who_is_called_hopeless_is_never_among_the_best_whoever_comes(record, more: int, rng) -> None:
    losses, waits = record
    hopeless = PRUNER.hopeless(waits, losses, dict.fromkeys(RUNGS, more))
    assert hopeless <= waits
    assert not hopeless & set(PRUNER.earned(waits, losses))
    for rung in RUNGS:
        for number in range(rng.randint(0, more)):
            losses[rung][100 + number] = rng.uniform(0.0, 12.0)
    assert not hopeless & set(PRUNER.earned(waits, losses))


def test_all_that_arrive_wait_from_the_first_rung_on_that_was_asked_for() -> None:
    losses = {rung: {0: 1.0, 1: 2.0} for rung in (1, 2, 4, 8)}
    at = {
        rung: PromotePruner(settings=Promote(first=2))
        .decide(Arrivals(rung=rung, arrived=frozenset({0, 1}), losses=losses))
        .wait
        for rung in (1, 2, 4, 8)
    }
    assert at == {1: frozenset(), 2: {0, 1}, 4: {0, 1}, 8: frozenset()}


def test_a_greater_factor_lets_fewer_go_on() -> None:
    losses = {1: {trial: float(trial) for trial in range(12)}}
    waits = set(range(12))
    assert PromotePruner(settings=Promote(factor=2)).earned(waits, losses) == tuple(range(6))
    assert PromotePruner(settings=Promote(factor=4)).earned(waits, losses) == (0, 1, 2)
    assert PRUNER.earned({4, 5}, losses) == ()
    assert PRUNER.earned({3, 5}, losses) == (3,)
