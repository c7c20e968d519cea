"""How a trial of full length ends, and which of its weights are kept: pure decisions on its own losses.

Both look at the eval loss after each round, always on the same first validation examples. Knows nothing of
other trials: who is stopped beside better ones is a pruner's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

from ..errors import UsageError

Keep = Literal["best", "last"]
"""``best``: the weights after the round of the lowest eval loss; ``last``: those after the last round."""

KEEPS: tuple[Keep, ...] = get_args(Keep)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stopping:
    """When a trial of full length ends and what is kept of it; raises ``UsageError``."""

    keep: Keep = "best"
    """Which weights are kept and give the trial's value."""
    patience: int | None = None
    """It ends after so many rounds in a row without a lower loss; None: never before its last round."""

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience: {self.patience} is less than 1 round; leave it out to train on")
        if self.keep not in KEEPS:
            raise UsageError(f"keep: {self.keep!r} is neither {' nor '.join(KEEPS)}")

    def is_over(self, losses: Sequence[float]) -> bool:
        """Return whether a trial with these losses, one a round, has waited long enough for a lower one.

        >>> Stopping(patience=2).is_over([0.9, 0.5, 0.6, 0.5])
        True
        """
        if self.patience is None or not losses:
            return False
        return len(losses) - best_round(losses) >= self.patience

    def kept_round(self, losses: Sequence[float]) -> int:
        """Return after which round, from 1, the weights are kept of a trial with these losses."""
        return best_round(losses) if self.keep == "best" else len(losses)


def best_round(losses: Sequence[float]) -> int:
    """Return the round, from 1, of the lowest loss; the earliest of equals.

    >>> best_round([0.9, 0.5, 0.6, 0.5])
    2
    """
    return min(range(len(losses)), key=lambda index: losses[index]) + 1
