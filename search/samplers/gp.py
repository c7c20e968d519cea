"""Optuna's Gaussian process with expected improvement, after a quasi-random start.

It looks at complete trials alone, and half of ours are stopped: so a stopped trial is told as complete with
its last loss, which is higher than that of its end would be, and what broke down with the worst loss seen.
Optuna loads torch and scipy when it is asked, and not before.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ...errors import UsageError
from ...spaces.quiet_optuna import quiet
from ...study.samplers import Gp
from .base import Ask, Past
from .optuna_study import frozen, remembered, suggested, worst_of
from .points import stratified


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpSampler:
    """See ``base.Sampler``; raises ``UsageError`` where scipy is not installed."""

    settings: Gp
    """What it goes by."""

    def __post_init__(self) -> None:
        if importlib.util.find_spec("scipy") is None:
            raise UsageError(
                "sampler gp: scipy is not installed; pip install 'loratune[gp]', or take another sampler"
            )

    def suggest(self, ask: Ask, history: Sequence[Past]) -> tuple[dict[str, Any], str]:
        """Return a point of the start, or what the process suggests after this history."""
        finished = sum(past.state != "running" for past in history)
        if ask.number <= self.settings.startup or finished < self.settings.finished:
            return stratified(ask), "startup"
        worst = worst_of(history)
        looked_at = remembered(history, self.settings.remembered)
        told = [_told(ask, past, number, worst) for number, past in enumerate(looked_at, 1)]
        with quiet():
            sampler = optuna.samplers.GPSampler(seed=ask.word, n_startup_trials=0)
        return suggested(sampler, ask, told), self.settings.name


def _told(ask: Ask, past: Past, number: int, worst: float) -> FrozenTrial:
    state, value = TrialState.COMPLETE, past.value
    if past.state == "running":
        state = TrialState.RUNNING
    elif past.state == "pruned" and past.curve:
        value = past.curve[max(past.curve)]
    elif past.state != "complete":
        value = worst
    return frozen(ask.distributions, past, number, state=state, value=value, curve={})
