"""The curves of a study, read: one trial's, and how many of all are of which kind."""

from __future__ import annotations

import dataclasses

from ..study.format import join
from ..study.records import TrialRecord
from .curve_reading import COUNTED, Curve, Kind, Reading, read_curve
from .view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveCounts:
    """How the curves of a study read."""

    best: Reading | None
    """The best trial's curve; None where no trial is complete."""
    counts: dict[Kind, int]
    """Kind → trials with at least one round, every kind present."""

    @property
    def words(self) -> str | None:
        """One sentence on all trials; None where none has trained a round."""
        parts = [
            f"{count} too short to say" if kind == "short" else f"{count} {kind}"
            for kind, count in self.counts.items()
            if count
        ]
        return f"Their curves, read by fixed rules: {join(parts)}." if parts else None


def curve_of(view: StudyView, trial: TrialRecord) -> Curve:
    """Return one trial's curve with all its eval losses on the same examples.

    After the last round more examples are evaluated than before. Their first ones are those of the earlier
    rungs, so the loss over these is taken, where each example's loss is known; else the loss over all.
    """
    points = view.points(trial.number)
    evals = {point.round: point.eval_loss for point in points if point.eval_loss is not None}
    base, size = view.base_loss, view.budget.eval_examples
    whole, known = view.base_evaluation, view.evaluations.get(trial.number)
    if whole is not None and len(whole.losses) >= size:
        base = whole.first(size).loss
    if known is not None and trial.state == "complete" and evals and len(known.losses) >= size:
        evals[max(evals)] = known.first(size).loss
    return Curve(
        base=base,
        train=tuple(point.train_loss for point in points),
        norms=tuple(point.grad_norm for point in points),
        evals=evals,
        diverged=trial.state == "diverged",
        complete=trial.state == "complete",
    )


def reading_of(view: StudyView, trial: TrialRecord) -> Reading | None:
    """Return how a trial's curve reads; None where it has not trained a round."""
    if not view.points(trial.number) and trial.state != "diverged":
        return None
    return read_curve(curve_of(view, trial))


def curve_counts(view: StudyView) -> CurveCounts:
    """Read every curve of a study."""
    counts: dict[Kind, int] = dict.fromkeys(COUNTED, 0)
    for trial in view.trials:
        found = reading_of(view, trial)
        if found is not None:
            counts[found.kind] += 1
    best = view.best()
    return CurveCounts(best=reading_of(view, best) if best is not None else None, counts=counts)
