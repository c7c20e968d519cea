"""Worse than the median of the complete trials: Optuna's rule, on our rungs.

A trial stops where even the best of its losses so far is above the median that the complete trials had at
this rung. Source: ``optuna.pruners.MedianPruner``; Golovin et al., "Google Vizier", KDD 2017, section 3.2.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

from ...study.budget import RUNGS
from ...study.pruners import STOP_RUNGS, Median
from .base import Arrivals, Decision


@dataclasses.dataclass(frozen=True, kw_only=True)
class MedianPruner:
    """See ``base.Pruner``."""

    settings: Median
    """What it goes by."""

    def decide(self, arrivals: Arrivals) -> Decision:
        """Stop the arrivals whose best loss is above the median of the complete trials at this rung."""
        if not self.settings.first <= arrivals.rung <= STOP_RUNGS[-1]:
            return Decision()
        ends = arrivals.losses.get(RUNGS[-1], {})
        complete = [trial for trial, loss in ends.items() if math.isfinite(loss)]
        if len(complete) < self.settings.complete:
            return Decision()
        median = statistics.median(arrivals.here[trial] for trial in complete if trial in arrivals.here)
        return Decision(stop=frozenset(one for one in arrivals.arrived if _best(arrivals, one) > median))


def _best(arrivals: Arrivals, trial: int) -> float:
    """Return the lowest loss that a trial had up to this rung."""
    rungs = [rung for rung in RUNGS if rung <= arrivals.rung]
    return min(arrivals.losses[rung][trial] for rung in rungs if trial in arrivals.losses.get(rung, {}))
