"""Optuna's tree-structured Parzen estimator, after a quasi-random start.

What broke down is PRUNED to it with the worst finite value seen. Told as FAIL a trial is ignored by TPE,
which then runs into the same cliff again and again; told at step 1 it ranks behind every trial that was
stopped at a later rung. Running trials count as bad (its constant liar).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ...study.samplers import Tpe
from .base import Ask, Past
from .optuna_study import frozen, remembered, suggested, worst_of
from .points import stratified


@dataclasses.dataclass(frozen=True, kw_only=True)
class TpeSampler:
    """See ``base.Sampler``."""

    settings: Tpe
    """What it goes by."""

    def suggest(self, ask: Ask, history: Sequence[Past]) -> tuple[dict[str, Any], str]:
        """Return a point of the start, or what TPE suggests after this history."""
        finished = sum(past.state != "running" for past in history)
        if ask.number <= self.settings.startup or finished < self.settings.finished:
            return stratified(ask), "startup"
        sampler = optuna.samplers.TPESampler(
            seed=ask.word,
            multivariate=True,
            n_startup_trials=0,
            n_ei_candidates=self.settings.candidates,
            constant_liar=True,
        )
        # As it was for all that ever broke down, remembered or not: what TPE is told of a trial stays.
        worst = worst_of(history)
        looked_at = remembered(history, self.settings.remembered)
        told = [_told(ask, past, number, worst) for number, past in enumerate(looked_at, 1)]
        return suggested(sampler, ask, told), self.settings.name


def _told(ask: Ask, past: Past, number: int, worst: float) -> FrozenTrial:
    state, value, curve = TrialState.PRUNED, past.value, past.curve
    if past.state == "complete":
        assert past.value is not None
        state = TrialState.COMPLETE
    elif past.state == "running":
        state = TrialState.RUNNING
    else:
        curve = past.curve if past.state == "pruned" and past.curve else {1: worst}
        value = curve[max(curve)]
    return frozen(ask.distributions, past, number, state=state, value=value, curve=curve)
