"""One look at the locked test set: when, for whom, what was measured of every example; as an event holds it.

The numbers are exact: a float32 is a JSON number that is read back as the same float32.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import StorageError
from .facts import Answers
from .records import Evaluation, EventRecord

KIND = "test"
"""The kind of the event."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opening:
    """One look at the test set."""

    at: datetime.datetime
    """When, UTC."""
    opened: int
    """How often the test set of these data was looked at, this time included, whichever study did it."""
    recommended: int
    """The trial of the searched study that it was opened for."""
    evaluations: Mapping[int, Evaluation]
    """Trial of the confirming study → what was measured of each test example, in the data's order."""
    answers: Answers = dataclasses.field(default_factory=Answers)
    """The labels, and which of them each test example has; nothing where none were asked for."""
    scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Trial of the confirming study → what it has of the study's metric; nothing where that is the loss."""


_BESIDE: Mapping[str, tuple[type[np.generic], int]] = {
    "correct": (np.int64, 1),
    "label_losses": (np.float32, 2),
    "marks": (np.float32, 1),
}
"""What may have been measured beside the losses: its type, and dimensions."""


def detail_of(
    opened: int,
    recommended: int,
    data: str,
    evaluations: Mapping[int, Evaluation],
    answers: Answers | None = None,
    scores: Mapping[int, float] | None = None,
) -> dict[str, Any]:
    """Return what the event says, as JSON values; ``data`` is the fingerprint of the data."""
    detail: dict[str, Any] = {
        "opened": opened,
        "recommended": recommended,
        "data": data,
        "tokens": next(iter(evaluations.values())).tokens.tolist(),
        "losses": {str(number): one.losses.tolist() for number, one in evaluations.items()},
    }
    for name in _BESIDE:
        measured = {str(number): getattr(one, name) for number, one in evaluations.items()}
        if all(one is not None for one in measured.values()):
            detail[name] = {number: one.tolist() for number, one in measured.items()}
    if answers is not None and answers.labels:
        detail |= {"labels": list(answers.labels), "right": list(answers.of_examples)}
    if scores:
        detail["scores"] = {str(number): score for number, score in scores.items()}
    return detail


def opening_of(event: EventRecord) -> Opening:
    """Return what an event says; raises ``StorageError`` where it cannot be read."""
    detail = event.detail
    try:
        tokens = _numbers(detail["tokens"], np.int64, None)
        evaluations = {
            int(number): Evaluation(
                losses=_numbers(losses, np.float32, len(tokens)),
                tokens=tokens,
                **{
                    name: _numbers(detail[name][number], kind, len(tokens), dimensions)
                    for name, (kind, dimensions) in _BESIDE.items()
                    if name in detail
                },
            )
            for number, losses in detail["losses"].items()
        }
        opened, recommended = int(detail["opened"]), int(detail["recommended"])
        right = _numbers(detail.get("right", []), np.int64, len(tokens) if "right" in detail else None)
        answers = Answers(labels=tuple(detail.get("labels", ())), of_examples=tuple(right.tolist()))
        scores = {int(number): float(score) for number, score in detail.get("scores", {}).items()}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StorageError(
            "what was found on the test set cannot be read; it is damaged, which tune db check may tell"
        ) from error
    return Opening(
        at=event.at,
        opened=opened,
        recommended=recommended,
        evaluations=evaluations,
        answers=answers,
        scores=scores,
    )


def _numbers(values: Any, kind: type[np.generic], length: int | None, dimensions: int = 1) -> Any:
    """Return a list of numbers as an array; raises ``ValueError`` or ``TypeError`` for anything else.

    NumPy by itself takes a null for a number that is none.
    """
    found = np.asarray(values if isinstance(values, list) else None)
    if length is None and found.shape == (0,):
        return found.astype(kind)
    whole = np.issubdtype(found.dtype, np.integer)
    if found.ndim != dimensions or not (whole or np.issubdtype(found.dtype, np.floating)):
        raise TypeError("no list of numbers")
    if (np.issubdtype(kind, np.integer) and not whole) or length not in (None, len(found)):
        raise ValueError("another number of examples, or parts of tokens")
    return found.astype(kind)
