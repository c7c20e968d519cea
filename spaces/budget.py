"""A trial's budget: eight quanta of training examples, the same for every batch size.

The resource is examples seen, never optimizer steps, so that trials of different batch sizes
are compared at equal data. Pure arithmetic; knows nothing of data files or models.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from .errors import BudgetError

QUANTA = 8
"""A trial is this many quanta long."""

RUNGS = (1, 2, 4, 8)
"""Quanta after which a trial is evaluated; the last gives its value."""

MAX_EPOCHS = 3
"""A trial sees the training data at most this often by default."""

MAX_MICRO_BATCH = 4
"""Most examples that a slot contributes to one forward pass."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """What every trial of a study is given; made by ``plan_budget``."""

    micro_batch: int
    """Examples per slot and tick (m); divides every batch size."""
    quantum: int
    """Training examples per quantum (Q); every batch size divides it."""
    batch_sizes: tuple[int, ...]
    """The batch sizes that may be tried, ascending."""
    eval_examples: int
    """Validation examples after quanta 1, 2 and 4: the first of the fixed order."""
    final_eval_examples: int
    """Validation examples after quantum 8; their loss is the trial's value."""
    notes: tuple[str, ...] = ()
    """Sentences on what was lowered to fit the data."""

    @property
    def examples(self) -> int:
        """Training examples of a whole trial."""
        return QUANTA * self.quantum

    @property
    def ticks(self) -> int:
        """Forward-backward passes per quantum."""
        return self.quantum // self.micro_batch

    def steps(self, batch_size: int) -> int:
        """Optimizer steps of a whole trial at that batch size."""
        return self.examples // batch_size

    def eval_size(self, quantum: int) -> int:
        """Validation examples after that quantum (1 to 8); 0 where it is no rung."""
        if quantum == QUANTA:
            return self.final_eval_examples
        return self.eval_examples if quantum in RUNGS else 0
