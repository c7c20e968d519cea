"""The order in which every trial of a seed reads the training examples.

An epoch is a permutation of the data, the epochs follow each other without a gap, and the whole is
cut into quanta. Inside a quantum the examples are ranked by length and taken m at a time, so that a
tick holds examples of like length; the ticks are visited in one fixed shuffled order. A tick's
padded length belongs to its rank, never to the examples in it, so trials that stand at different
quanta can still share one forward pass. Knows nothing of tokens, models or trials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...study.budget import QUANTA, Budget
from .rng import derive_seed, permutation

LENGTH_MULTIPLE = 8
LENGTH_LEAST = 16
SEEDS_COVERED = 8
"""The padded lengths of a study hold for its seed and the next seven, for repeats of a trial."""

Indices = npt.NDArray[np.int64]


class Stream:
    """The training examples in the order of one seed.

    Example:
        >>> from loratune.study.budget import plan_budget
        >>> budget = plan_budget([2, 4], train_examples=100, validation_examples=20)
        >>> Stream(np.arange(100), budget, seed=0).quantum(0).shape
        (12, 2)
    """

    def __init__(self, lengths: Indices, budget: Budget, seed: int) -> None:
        """Take the examples' lengths in tokens ``[n]``, the budget, and the seed of the order."""
        self._lengths = np.asarray(lengths)
        self._budget = budget
        self._seed = seed
        self._visit = permutation(budget.ticks, derive_seed("visit", budget.ticks))

    def quantum(self, index: int) -> Indices:
        """Return ``[ticks, m]`` the examples of a quantum (from 0), tick by tick as they are visited."""
        return self.ranked(index)[self._visit]

    def ranked(self, index: int) -> Indices:
        """Return ``[ticks, m]`` the examples of a quantum (from 0), shortest first."""
        size, count = self._budget.quantum, len(self._lengths)
        positions = np.arange(index * size, (index + 1) * size)
        epochs = positions // count
        examples = np.concatenate(
            [
                permutation(count, derive_seed("epoch", self._seed, int(epoch)))[
                    positions[epochs == epoch] % count
                ]
                for epoch in np.unique(epochs)
            ]
        )
        order = np.lexsort((np.arange(size), self._lengths[examples]))
        return examples[order].reshape(self._budget.ticks, self._budget.micro_batch)


def tick_lengths(lengths: Indices, budget: Budget, seed: int) -> tuple[int, ...]:
    """Return ``[ticks]`` the padded length of each tick, in visiting order.

    It is the longest example that any quantum of the seed, or of the seven seeds after it, ever puts
    at that rank, rounded up to a multiple of 8 and to at least 16 tokens.
    """
    longest = np.zeros(budget.ticks, dtype=np.int64)
    for offset in range(SEEDS_COVERED):
        stream = Stream(lengths, budget, seed + offset)
        for index in range(QUANTA):
            longest = np.maximum(longest, np.asarray(lengths)[stream.ranked(index)].max(axis=1))
    visit = permutation(budget.ticks, derive_seed("visit", budget.ticks))
    return tuple(padded_length(int(length)) for length in longest[visit])


def padded_length(length: int) -> int:
    """Return the length in tokens that an example of ``length`` tokens is padded to at least."""
    return max(LENGTH_LEAST, -(-length // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)
