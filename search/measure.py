"""What a worker reported of a round, as rows of the record."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..objectives.base import Done, Measures, SlotResult
from ..storage.study_files import checkpoint_file
from ..study.facts import Facts
from ..study.records import CurvePoint, Evaluation, RoundUpdate, TrialRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndedRound:
    """A trial has ended its round, and waits for the others that are judged with it."""

    update: RoundUpdate
    """What is to be recorded of it."""
    diverged: str | None
    """Why it cannot go on, in the worker's words."""


def updates_of(
    results: Sequence[SlotResult],
    done: Done,
    *,
    facts: Facts,
    trials: Mapping[int, TrialRecord],
    worker: int,
    begun_at: datetime.datetime,
) -> tuple[RoundUpdate, ...]:
    """Return what is to be recorded of each trial, in order of their numbers."""
    now = datetime.datetime.now(datetime.UTC)
    seconds = max(done.seconds, 1e-9)
    updates = []
    for result in sorted(results, key=lambda result: result.trial):
        evaluation, final = evaluations_of(result, facts)
        loss = None if evaluation is None else finite(evaluation.loss)
        point = CurvePoint(
            trial=result.trial,
            round=result.round,
            examples=result.examples,
            train_loss=finite(result.train_loss),
            eval_loss=loss,
            learning_rate=result.learning_rate,
            grad_norm=finite(result.grad_norm),
            tokens_per_second=result.tokens / seconds,
            memory_bytes=done.memory_bytes,
            worker=worker,
            started_at=begun_at,
            finished_at=now,
        )
        updates.append(
            RoundUpdate(
                trial=result.trial,
                round=result.round,
                point=point,
                evaluation=evaluation,
                checkpoint=checkpoint_of(result, trials[result.trial].attempt),
                final=final,
            )
        )
    return tuple(updates)


def checkpoint_of(result: SlotResult, attempt: int) -> str | None:
    """Return the file of the state that a trial left, in the study's folder; None where it diverged."""
    return None if result.diverged is not None else checkpoint_file(result.trial, result.round, attempt)


def evaluations_of(result: SlotResult, facts: Facts) -> tuple[Evaluation | None, Evaluation | None]:
    """Return a round's evaluation, and that of what a trial of full length keeps; None where none was made.

    A smaller evaluation is of the first examples of the final one. What was measured beside the losses
    belongs to the last one that there is.
    """
    final, own = result.final_losses, result.eval_losses
    last = None if final is None else as_evaluation(final, facts.eval_tokens, result.measures)
    measures = result.measures if last is None else None
    return None if own is None else as_evaluation(own, facts.eval_tokens, measures), last


def as_evaluation(losses: Sequence[float], tokens: Sequence[int], measures: Measures | None) -> Evaluation:
    """Return what a worker told of some examples; ``tokens``: of these, and maybe of more after them."""
    table = None if measures is None else measures.label_losses
    marks = None if measures is None else measures.marks
    return Evaluation(
        losses=np.asarray(losses, dtype=np.float32),
        tokens=np.asarray(tokens[: len(losses)], dtype=np.int64),
        correct=None if measures is None else np.asarray(measures.correct, dtype=np.int64),
        label_losses=None if table is None else np.asarray(table, dtype=np.float32),
        marks=None if marks is None else np.asarray(marks, dtype=np.float32),
    )


def finite(value: float) -> float | None:
    """Return the value, or None where it is NaN or infinite."""
    return value if math.isfinite(value) else None
