"""Which trials are the best: those that are complete, by what the study selects by; decided here alone.

By the loss, less is better. By any other metric more is, and equals are told apart by their losses; a trial
of which it was not measured comes after those of which it was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .records import TrialRecord

Rank = tuple[float, float, int]
"""What trials are ordered by: the best has the least."""


def rank(score: float | None, value: float, number: int) -> Rank:
    """Return the place of a complete trial among others.

    >>> rank(0.9, 1.2, 5) < rank(0.8, 1.1, 2) < rank(None, 0.1, 0)
    True
    """
    return (math.inf if score is None else -score, value, number)


def gains_nothing(
    value: float, base_loss: float, score: float | None = None, base_score: float | None = None
) -> bool:
    """Return whether a trial is no better than the base model, by losses where no metric is known of both.

    >>> gains_nothing(0.5, 0.9), gains_nothing(0.5, 0.9, 0.7, 0.8), gains_nothing(0.5, 0.9, 0.8, 0.8)
    (False, True, False)
    """
    known = score is not None and base_score is not None
    return rank(score if known else None, value, 0) >= rank(base_score if known else None, base_loss, 0)


def ranked(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return the complete trials, the best first, the earliest of equals."""
    placed = [
        (rank(trial.score, trial.value, trial.number), trial) for trial in trials if trial.value is not None
    ]
    return tuple(trial for _, trial in sorted(placed, key=lambda place: place[0]))


def best_trial(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the best complete trial, the earliest of equals; None where none is complete."""
    return next(iter(ranked(trials)), None)
