"""Pausing and promoting: who is not among the best of its rung waits there, and goes on once it is.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020, Algorithm 2: a
free place goes to the best trial that has earned it, from the highest rung on, and to a new trial where none
has. Nobody is judged bad by an early loss: a trial that waits goes on as soon as enough others are worse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from ...study.pruners import Promote
from ...study.waiting import in_order, leading
from .base import Arrivals, Decision

Losses = Mapping[int, Mapping[int, float]]
"""By rung, the loss of every trial that ever reached it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromotePruner:
    """See ``base.Pruner`` and ``base.Promoter``.

    >>> losses = {1: {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 4: 5.0, 5: 6.0}, 2: {0: 0.9}}
    >>> PromotePruner(settings=Promote()).earned({1, 2, 3}, losses)
    (1,)
    """

    settings: Promote
    """What it goes by."""

    def decide(self, arrivals: Arrivals) -> Decision:
        """Let all of them wait, where this rung is one to wait at; stop nobody."""
        return Decision(wait=arrivals.arrived if self.settings.pauses_at(arrivals.rung) else frozenset())

    def earned(self, waiting: Collection[int], losses: Losses) -> tuple[int, ...]:
        """Return those that are among the best of their rung, from the highest rung down, best first."""
        best = {rung: frozenset(leading(here, self.settings.factor)) for rung, here in losses.items()}
        return tuple(
            trial
            for rung, trial in _in_turn(waiting, losses)
            if trial in best[rung] and self.settings.pauses_at(rung)
        )

    def foremost(self, waiting: Collection[int], losses: Losses) -> tuple[int, ...]:
        """Return all that wait, from the highest rung down, best first."""
        return tuple(trial for _rung, trial in _in_turn(waiting, losses))

    def hopeless(
        self, waiting: Collection[int], losses: Losses, to_come: Mapping[int, int]
    ) -> frozenset[int]:
        """Return those that cannot be among the best of their rung, whoever else reaches it."""
        hopeful = {
            rung: frozenset(in_order(here)[: (len(here) + to_come.get(rung, 0)) // self.settings.factor])
            for rung, here in losses.items()
        }
        return frozenset(trial for rung, trial in _in_turn(waiting, losses) if trial not in hopeful[rung])


def _in_turn(waiting: Collection[int], losses: Losses) -> Iterator[tuple[int, int]]:
    """Yield the rung and the number of each trial that waits, from the highest rung down, best first."""
    for rung in sorted(losses, reverse=True):
        for trial in in_order(losses[rung]):
            if trial in waiting and _stands(trial, losses) == rung:
                yield rung, trial


def _stands(trial: int, losses: Losses) -> int:
    """Return the highest rung that a trial has reached."""
    return max(rung for rung, here in losses.items() if trial in here)
