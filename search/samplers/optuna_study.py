"""A history as a study of Optuna's in memory, for the samplers that are Optuna's own.

Optuna's storage takes time for each trial that it is handed, so this one holds them as they are.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from ...spaces.quiet_optuna import quiet
from .base import Ask, Past

GOOD = 25
"""TPE takes the best tenth for good, and never more trials than this."""


def suggested(
    sampler: optuna.samplers.BaseSampler, ask: Ask, trials: Sequence[FrozenTrial]
) -> dict[str, Any]:
    """Return what one of Optuna's samplers suggests beside these trials."""
    with quiet():
        study = optuna.create_study(direction="minimize", sampler=sampler, storage=_Remembered(trials))
        return study.ask(fixed_distributions=ask.distributions).params


def worst_of(history: Sequence[Past]) -> float:
    """Return the greatest loss that any trial ever had, 1 where none had one."""
    return max((past.worst for past in history if past.worst is not None), default=1.0)


def remembered(history: Sequence[Past], most: int) -> Sequence[Past]:
    """Return what is looked at, in order: all of a history of up to ``most`` trials, else a part.

    That part holds the trials which TPE takes for good, the very ones that it would find in the whole, so
    what is forgotten are the oldest of the others: those count least there, as TPE weighs them by their age.
    """
    if len(history) <= most:
        return history
    ended = [at for at, past in enumerate(history) if past.state != "running"]
    chosen = set(heapq.nsmallest(GOOD, ended, key=lambda at: history[at].rank))
    chosen.update(at for at, past in enumerate(history) if past.state == "running")
    for at in reversed(range(len(history))):
        if len(chosen) >= most:
            break
        chosen.add(at)
    return [history[at] for at in sorted(chosen)]


class _Remembered(optuna.storages.InMemoryStorage):
    """A study that has these trials beside the one that is asked for, which is number 0."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._remembered = trials

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return those in the given states."""
        own = super().get_all_trials(study_id, deepcopy=deepcopy, states=states)
        return own + [trial for trial in self._remembered if states is None or trial.state in states]


def frozen(
    distributions: dict[str, BaseDistribution],
    past: Past,
    number: int,
    *,
    state: TrialState,
    value: float | None,
    curve: Mapping[int, float],
) -> FrozenTrial:
    """Return a trial in Optuna's terms, with the state, value and curve that it is told."""
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=value,
        params=dict(past.suggestion),
        distributions=distributions,
        intermediate_values=dict(curve),
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
    )
