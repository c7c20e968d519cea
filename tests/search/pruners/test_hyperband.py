"""Whom Hyperband stops: each bracket judges its own."""

from __future__ import annotations

from collections import Counter

import pytest
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.hyperband import HyperbandPruner
from loratune.study.pruners import Hyperband

PRUNER = HyperbandPruner(settings=Hyperband())


def stopped(rung: int, values: dict[int, float], settings: Hyperband | None = None) -> frozenset[int]:
    arrivals = Arrivals(rung=rung, arrived=frozenset(values), losses={rung: values})
    return HyperbandPruner(settings=settings or Hyperband()).decide(arrivals).stop


def test_brackets_have_as_many_trials_as_cost_the_same() -> None:
    assert Counter(PRUNER.bracket_of(trial) for trial in range(22)) == {0: 8, 1: 6, 2: 4, 3: 4}


def test_a_bracket_follows_from_the_number_and_every_stretch_of_trials_has_all_of_them() -> None:
    brackets = [PRUNER.bracket_of(trial) for trial in range(220)]
    assert brackets == [HyperbandPruner(settings=Hyperband()).bracket_of(trial) for trial in range(220)]
    assert all(set(brackets[at : at + 11]) == {0, 1, 2, 3} for at in range(200))


@pytest.mark.parametrize(("rung", "brackets"), [(1, {0}), (2, {0, 1}), (4, {0, 1, 2})])
def test_a_bracket_stops_from_its_own_rung_on_and_the_last_one_never(rung: int, brackets: set[int]) -> None:
    values = {trial: float(trial) for trial in range(88)}
    assert {PRUNER.bracket_of(trial) for trial in stopped(rung, values)} == brackets


def test_who_is_in_another_bracket_is_no_peer() -> None:
    own = [trial for trial in range(40) if PRUNER.bracket_of(trial) == 0]
    values = {trial: float(trial) for trial in range(40)}
    better = {trial: loss if trial in own else 0.0 for trial, loss in values.items()}
    assert stopped(1, better) == stopped(1, values) == set(own[-(len(own) // 2) :])
    few = {trial: values[trial] for trial in values if trial not in own[4:]}
    assert stopped(1, few) == set()


def test_a_later_first_rung_leaves_fewer_brackets() -> None:
    pruner = HyperbandPruner(settings=Hyperband(first=4, factor=3))
    assert Counter(pruner.bracket_of(trial) for trial in range(5)) == {0: 3, 1: 2}
    values = {trial: float(trial) for trial in range(40)}
    assert not stopped(2, values, Hyperband(first=4))
    assert stopped(4, values, Hyperband(first=4))
