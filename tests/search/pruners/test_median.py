"""Whom the median rule stops: those whom Optuna's own would."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.median import MedianPruner
from loratune.study.pruners import Median
from optuna.trial import TrialState

COMPLETE = {trial: {1: 4.0 - trial / 10, 2: 3.0, 4: 2.0, 8: 1.0} for trial in range(6)}


def decide(
    rung: int, curves: dict[int, dict[int, float]], arrived: set[int], settings: Median | None = None
) -> frozenset[int]:
    losses = {at: {trial: curve[at] for trial, curve in curves.items() if at in curve} for at in (1, 2, 4, 8)}
    arrivals = Arrivals(rung=rung, arrived=frozenset(arrived), losses=losses)
    return MedianPruner(settings=settings or Median()).decide(arrivals).stop


def optunas(rung: int, curves: dict[int, dict[int, float]], trial: int, settings: Median) -> bool:
    """Ask Optuna's pruner about a trial among others, of whom those with a loss at 8 are complete."""
    pruner = optuna.pruners.MedianPruner(n_startup_trials=settings.complete, n_warmup_steps=settings.first)
    study = optuna.create_study(pruner=pruner)
    for number, curve in curves.items():
        if number != trial:
            study.add_trial(
                optuna.create_trial(
                    state=TrialState.COMPLETE if 8 in curve else TrialState.PRUNED,
                    value=curve[max(curve)],
                    intermediate_values=curve,
                )
            )
    asked = study.ask()
    for step, loss in curves[trial].items():
        asked.report(loss, step)
    return asked.should_prune()


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


losses = st.one_of(st.floats(0.5, 3.0), st.sampled_from([1.0, 2.0]))


@given(
    st.lists(st.tuples(st.integers(1, 4), losses, losses, losses, losses), min_size=1, max_size=14),
    st.integers(1, 3),
    st.tuples(losses, losses, losses),
    st.sampled_from([Median(), Median(complete=1), Median(complete=3, first=2), Median(complete=2, first=4)]),
)
def test_a_trial_stops_where_optunas_pruner_would_stop_it(
    others: list[tuple[int, float, float, float, float]],
    reached: int,
    own: tuple[float, float, float],
    settings: Median,
) -> None:
    rungs = (1, 2, 4, 8)
    curves = {
        number: dict(zip(rungs[:count], measured, strict=False))
        for number, (count, *measured) in enumerate(others)
    }
    curves[99] = dict(zip(rungs[:reached], own, strict=False))
    rung = rungs[reached - 1]
    assert (99 in decide(rung, curves, {99}, settings)) == optunas(rung, curves, 99, settings)


def test_one_that_was_once_below_the_median_goes_on() -> None:
    assert decide(2, {**COMPLETE, 9: {1: 3.9, 2: 3.1}}, {9}) == {9}
    assert decide(2, {**COMPLETE, 9: {1: 2.9, 2: 3.1}}, {9}) == set()


def test_nobody_stops_before_enough_are_complete() -> None:
    few = {trial: COMPLETE[trial] for trial in range(4)}
    assert decide(2, {**few, 9: {1: 9.0, 2: 9.0}}, {9}) == set()
    assert decide(2, {**few, 9: {1: 9.0, 2: 9.0}}, {9}, Median(complete=4)) == {9}


def test_nobody_stops_before_the_first_rung() -> None:
    assert decide(1, {**COMPLETE, 9: {1: 9.0}}, {9}) == {9}
    assert decide(1, {**COMPLETE, 9: {1: 9.0}}, {9}, Median(first=2)) == set()
