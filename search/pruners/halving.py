"""Asynchronous successive halving: of all that ever reached a rung the better part goes on.

Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020; the stopping
variant: a trial is judged once, when it arrives, and never paused. With two rungs and a factor of 2 a study
of many trials costs about half of its full budget.
"""

from __future__ import annotations

import dataclasses
import math

from ...study.pruners import STOP_RUNGS, Halving
from .base import Arrivals, Decision


@dataclasses.dataclass(frozen=True, kw_only=True)
class HalvingPruner:
    """See ``base.Pruner``.

    >>> losses = {2: {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 4: 5.0}}
    >>> arrivals = Arrivals(rung=2, arrived=frozenset({1, 3, 4}), losses=losses)
    >>> sorted(HalvingPruner(settings=Halving()).decide(arrivals).stop)
    [3, 4]
    """

    settings: Halving
    """What it goes by."""

    def decide(self, arrivals: Arrivals) -> Decision:
        """Stop a trial where ``ceil(n / factor)`` of the n losses are below its own.

        So the best is never stopped, and equals share their fate.
        """
        losses = arrivals.here
        if not self.settings.first <= arrivals.rung <= STOP_RUNGS[-1] or len(losses) <= self.settings.peers:
            return Decision()
        last_to_go_on = sorted(losses.values())[math.ceil(len(losses) / self.settings.factor) - 1]
        return Decision(stop=frozenset(one for one in arrivals.arrived if losses[one] > last_to_go_on))
