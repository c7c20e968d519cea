"""Which trials are the best: those that are complete, by their losses."""

from __future__ import annotations

from collections.abc import Iterable

from .records import TrialRecord


def ranked(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """Return the complete trials, the least loss first, the earliest of equals."""
    placed = [(trial.value, trial.number, trial) for trial in trials if trial.value is not None]
    return tuple(trial for _, _, trial in sorted(placed, key=lambda place: place[:2]))


def best_trial(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial of the least loss, the earliest of equals; None where none is complete."""
    return next(iter(ranked(trials)), None)
