"""Hyperband: successive halving in brackets, each of which begins to stop at another rung.

Nobody knows whether early losses tell of late ones, so some trials are judged early, some late, the last
bracket's never. A trial's bracket follows from its number alone; a bracket judges its own trials only.
Source: Li et al., "Hyperband", JMLR 2018, Algorithm 1: bracket s has about n = (s_max + 1) / (s + 1) · eta^s
trials, so that each costs about the same.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from ...study.budget import RUNGS
from ...study.pruners import STOP_RUNGS, Halving, Hyperband
from .base import Arrivals, Decision
from .halving import HalvingPruner


@dataclasses.dataclass(frozen=True, kw_only=True)
class HyperbandPruner:
    """See ``base.Pruner``."""

    settings: Hyperband
    """What it goes by."""

    def decide(self, arrivals: Arrivals) -> Decision:
        """Stop who is behind in its own bracket."""
        stop: frozenset[int] = frozenset()
        for bracket in {self.bracket_of(trial) for trial in arrivals.arrived}:
            first = self._first_rungs[bracket]
            if first not in STOP_RUNGS:
                continue
            halving = Halving(factor=self.settings.factor, first=first, peers=self.settings.peers)
            members = {trial for trial in arrivals.here if self.bracket_of(trial) == bracket}
            stop |= HalvingPruner(settings=halving).decide(arrivals.only(members)).stop
        return Decision(stop=stop)

    def bracket_of(self, trial: int) -> int:
        """Return the bracket of a trial: 0 stops earliest, the last one never."""
        turns = _turns(self.settings.factor, len(self._first_rungs))
        return turns[trial % len(turns)]

    @property
    def _first_rungs(self) -> tuple[int, ...]:
        return tuple(rung for rung in RUNGS if rung >= self.settings.first)


@functools.cache
def _turns(factor: int, brackets: int) -> tuple[int, ...]:
    """Return the brackets of one cycle of trials, each as often as it has trials, as evenly as can be.

    >>> _turns(2, 3)
    (0, 1, 0, 2, 0, 1, 0, 2, 1, 0)
    """
    sizes = [math.ceil(brackets * factor**s / (s + 1)) for s in reversed(range(brackets))]
    credit = [0] * brackets
    turns = []
    for _ in range(sum(sizes)):
        credit = [had + size for had, size in zip(credit, sizes, strict=True)]
        bracket = credit.index(max(credit))
        credit[bracket] -= sum(sizes)
        turns.append(bracket)
    return tuple(turns)
