"""One look at the locked test set: when, for whom, and the loss of every example, as an event holds it.

The numbers are exact: a float32 is a JSON number that is read back as the same float32.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import StorageError
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
    """Trial of the confirming study → its losses on each test example, in the data's order."""


def detail_of(
    opened: int, recommended: int, data: str, evaluations: Mapping[int, Evaluation]
) -> dict[str, Any]:
    """Return what the event says, as JSON values; ``data`` is the fingerprint of the data."""
    tokens = next(iter(evaluations.values())).tokens.tolist()
    losses = {str(number): one.losses.tolist() for number, one in evaluations.items()}
    return {
        "opened": opened,
        "recommended": recommended,
        "data": data,
        "tokens": tokens,
        "losses": losses,
    }


def opening_of(event: EventRecord) -> Opening:
    """Return what an event says; raises ``StorageError`` where it cannot be read."""
    detail = event.detail
    try:
        tokens = np.asarray(detail["tokens"], np.int64)
        evaluations = {
            int(number): Evaluation(losses=np.asarray(losses, np.float32), tokens=tokens)
            for number, losses in detail["losses"].items()
        }
        opened, recommended = int(detail["opened"]), int(detail["recommended"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StorageError(
            "what was found on the test set cannot be read; it is damaged, which tune db check may tell"
        ) from error
    return Opening(at=event.at, opened=opened, recommended=recommended, evaluations=evaluations)
