"""The order in which every trial of a seed reads the training examples.

An epoch is a permutation of the data in which every stretch has short and long examples in the data's
shares, so that each round's examples are about as long as any other's: what is padded to the longest of
all rounds is padded little. It hangs on the data and the seed alone, so a trial that goes on to a greater
length reads on where it was. The epochs follow each other without a gap, and the whole is cut into
rounds. Inside a round the examples are ranked by length and taken m at a time, so that a
micro-step holds examples of like length; the micro-steps are visited in one fixed shuffled order. The
padded length of a micro-step belongs to its rank, never to the examples in it, so trials that stand at
different rounds can still share one forward pass. Knows nothing of tokens, models or trials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...study.budget import ROUNDS, Budget
from ...study.stage import SEEDS_COVERED
from .rng import derive_seed, permutation, spread_out

LENGTH_MULTIPLE = 8
"""Of a padded length, in tokens. A GPU multiplies by tiles, and the fewer lengths there are, the fewer passes
are recorded there."""
LENGTH_MULTIPLE_CPU = 4
"""Of a micro-step's on a CPU, where each position takes time; less than this brings nothing (docs/log.md)."""
LENGTH_LEAST = 16
EPOCHS_KEPT = 4
"""Whose orders are kept: trials of a pack stand at several rounds, and a trial sees few epochs."""
Indices = npt.NDArray[np.int64]


class Stream:
    """The training examples in the order of one seed.

    Example:
        >>> from loratune.study.budget import plan_budget
        >>> budget = plan_budget([2, 4], train_examples=100, validation_examples=20)
        >>> Stream(np.arange(100), budget, seed=0).round(0).shape
        (12, 2)
    """

    def __init__(self, lengths: Indices, budget: Budget, seed: int) -> None:
        """Take the examples' lengths in tokens ``[n]``, the budget, and the seed of the order."""
        self._lengths = np.asarray(lengths)
        self._budget = budget
        self._seed = seed
        self._epochs: dict[int, Indices] = {}
        self._visit = permutation(budget.micro_steps, derive_seed("visit", budget.micro_steps))

    def round(self, index: int) -> Indices:
        """Return ``[micro_steps, m]`` the examples of a round (from 0), as they are visited."""
        return self.ranked(index)[self._visit]

    def ranked(self, index: int) -> Indices:
        """Return ``[micro_steps, m]`` the examples of a round (from 0), shortest first."""
        size, count = self._budget.round_examples, len(self._lengths)
        positions = np.arange(index * size, (index + 1) * size)
        epochs = positions // count
        examples = np.concatenate(
            [self._epoch(int(epoch))[positions[epochs == epoch] % count] for epoch in np.unique(epochs)]
        )
        order = np.lexsort((np.arange(size), self._lengths[examples]))
        return examples[order].reshape(self._budget.micro_steps, self._budget.micro_batch)

    def _epoch(self, epoch: int) -> Indices:
        """Return ``[n]`` every example once, in the order of reading."""
        if epoch not in self._epochs:
            count, seed = len(self._lengths), derive_seed("epoch", self._seed, epoch)
            order = permutation(count, seed)
            if self._budget.even_lengths:
                by_length = order[np.argsort(self._lengths[order], kind="stable")]
                order = by_length[spread_out(count, seed)]
            if len(self._epochs) == EPOCHS_KEPT:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = order
        return self._epochs[epoch]


def micro_step_lengths(
    lengths: Indices, budget: Budget, seed: int, multiple: int = LENGTH_MULTIPLE
) -> tuple[int, ...]:
    """Return ``[micro_steps]`` the padded length of each micro-step, in visiting order.

    It is the longest example that any round of the seed, or of the seven seeds after it, ever puts
    at that rank, rounded up to a ``multiple`` and to at least 16 tokens.
    """
    longest = np.zeros(budget.micro_steps, dtype=np.int64)
    for offset in range(SEEDS_COVERED):
        stream = Stream(lengths, budget, seed + offset)
        for index in range(ROUNDS):
            longest = np.maximum(longest, np.asarray(lengths)[stream.ranked(index)].max(axis=1))
    visit = permutation(budget.micro_steps, derive_seed("visit", budget.micro_steps))
    return tuple(padded_length(int(length), multiple) for length in longest[visit])


def padded_length(length: int, multiple: int = LENGTH_MULTIPLE) -> int:
    """Return the length in tokens that an example of ``length`` tokens is padded to at least."""
    return max(LENGTH_LEAST, -(-length // multiple) * multiple)
