"""What came of training plainly what LoRA was trained on: loss, memory and time, as an event holds them.

The numbers are exact: a float32 is a JSON number that is read back as the same float32.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from .plain_method import PlainMethod

if TYPE_CHECKING:
    from .records import Evaluation, EventRecord

KIND = "yardstick"
"""The kind of the event."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yardstick:
    """One run of full length without adapters."""

    method: PlainMethod
    """How it was trained."""
    trial: int
    """The trial of its study whose settings, data and order it has."""
    trainable: int
    """Weights that were trained."""
    evaluation: Evaluation
    """Its losses on all the validation examples, after the round that is kept."""
    rounds: int
    """Rounds that it was trained for."""
    memory_bytes: int
    """Peak memory of its process."""
    seconds: float
    """How long its rounds took, evaluations included."""

    def to_json(self) -> dict[str, Any]:
        """Return what the event says, as JSON values."""
        return {
            "method": dataclasses.asdict(self.method),
            "trial": self.trial,
            "trainable": self.trainable,
            "losses": self.evaluation.losses.tolist(),
            "tokens": self.evaluation.tokens.tolist(),
            "rounds": self.rounds,
            "memory_bytes": self.memory_bytes,
            "seconds": self.seconds,
        }


def yardstick_of(event: EventRecord) -> Yardstick:
    """Return what an event says; raises ``StorageError`` where it cannot be read."""
    import numpy as np  # a list of studies needs it not

    from .records import Evaluation

    detail = event.detail
    try:
        return Yardstick(
            method=PlainMethod(**detail["method"]),
            trial=int(detail["trial"]),
            trainable=int(detail["trainable"]),
            evaluation=Evaluation(
                losses=np.asarray(list(detail["losses"]), np.float32),
                tokens=np.asarray(list(detail["tokens"]), np.int64),
            ),
            rounds=int(detail["rounds"]),
            memory_bytes=int(detail["memory_bytes"]),
            seconds=float(detail["seconds"]),
        )
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StorageError(
            "what a plain training came to cannot be read; it is damaged, which tune db check may tell"
        ) from error
