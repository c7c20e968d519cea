"""What Optuna's tables lack of our record: pure, so that it can be tried against every interruption.

Our trial numbers become Optuna's: a trial that still runs is added only once a later one has ended, to
hold its number. Knows neither Optuna nor a database.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from .records import CurvePoint, TrialRecord

Told = Literal["running", "complete", "pruned"]
"""Optuna's words for a trial; all our other endings are told as ``pruned``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """One trial as Optuna is to have it."""

    number: int
    """Our number."""
    state: Told
    """Optuna's state."""
    value: float | None
    """Set once it has ended; always finite."""
    steps: Mapping[int, float]
    """Eval loss by quantum; empty while it runs."""
    attributes: Mapping[str, Any]
    """Its user attributes; ``loratune_number`` is how it is found again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Present:
    """What Optuna has of one trial."""

    trial_id: int
    """Optuna's own id of the row."""
    ended: bool
    """Whether Optuna refuses to change it."""
    steps: frozenset[int]
    """Quanta with an eval loss."""
    attributes: Mapping[str, Any]
    """Its user attributes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add:
    """Add a trial whole."""

    copy: Copy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Add one eval loss to a trial that runs."""

    number: int
    step: int
    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """Set one user attribute of a trial that runs."""

    number: int
    key: str
    value: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """End a trial that runs; the last step of all."""

    number: int
    state: Told
    value: float


Step = Add | Report | Note | End
"""One commit in Optuna's tables."""


def copies(trials: Sequence[TrialRecord], points: Iterable[CurvePoint], worst: float) -> tuple[Copy, ...]:
    """Return trials as Optuna is to have them; ``worst`` is the greatest eval loss of the study.

    A trial without a final loss is told as pruned with a finite value worse than all that was measured:
    told as failed, TPE would go on asking at the same cliff.
    """
    losses: dict[int, dict[int, float]] = {}
    last: dict[int, int] = {}
    for point in points:
        last[point.trial] = max(point.quantum, last.get(point.trial, 0))
        if point.eval_loss is not None:
            losses.setdefault(point.trial, {})[point.quantum] = point.eval_loss
    bad = min(2.0 * worst, 1e300) if worst > 0.0 else 1e3
    return tuple(
        _copy(trial, losses.get(trial.number, {}), last.get(trial.number, 1), bad) for trial in trials
    )


def _copy(trial: TrialRecord, losses: dict[int, float], last: int, bad: float) -> Copy:
    attributes: dict[str, Any] = {
        "loratune_number": trial.number,
        "state": trial.state,
        "params": trial.params.to_dict(),
    }
    if trial.reason is not None:
        attributes["reason"] = trial.reason
    if trial.state == "running":
        return Copy(number=trial.number, state="running", value=None, steps={}, attributes=attributes)
    if trial.state == "complete":
        assert trial.value is not None
        assert math.isfinite(trial.value)
        return Copy(
            number=trial.number, state="complete", value=trial.value, steps=losses, attributes=attributes
        )
    if trial.state == "pruned" and losses:
        value = losses[max(losses)]
    else:
        value = bad
        losses = losses | {last if last not in losses else last + 1: bad}
    return Copy(number=trial.number, state="pruned", value=value, steps=losses, attributes=attributes)


def reconcile(ours: Sequence[Copy], theirs: Mapping[int, Present]) -> tuple[Step, ...]:
    """Return what Optuna's tables lack, in the order to write it.

    Args:
        ours: every trial, by number.
        theirs: what Optuna has, by our number.

    Returns:
        Steps of one commit each. Stopped after any of them and called again, the rest follows and
        nothing comes twice.
    """
    highest = max((copy.number for copy in ours if copy.state != "running"), default=-1)
    steps: list[Step] = []
    for copy in sorted(ours, key=lambda copy: copy.number):
        present = theirs.get(copy.number)
        if present is None:
            if copy.number <= highest:
                steps.append(Add(copy=copy))
        elif not present.ended and copy.state != "running":
            steps += [
                Report(number=copy.number, step=step, value=value)
                for step, value in sorted(copy.steps.items())
                if step not in present.steps
            ]
            steps += [
                Note(number=copy.number, key=key, value=value)
                for key, value in copy.attributes.items()
                if key not in present.attributes or present.attributes[key] != value
            ]
            assert copy.value is not None
            steps.append(End(number=copy.number, state=copy.state, value=copy.value))
    return tuple(steps)
