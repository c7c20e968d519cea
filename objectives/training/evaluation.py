"""The fixed sets of validation examples that every trial is measured on.

A set is cut into chunks of like length once, so its shapes depend on the data alone. The loss of a
set is the mean over its target tokens, whatever the chunks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Protocol, TypeVar

import numpy as np
import torch

from ..base import Measures
from ..data.dataset import Split
from .batches import Batch, collate, repeated
from .stream import padded_length

T = TypeVar("T")

Passes = Generator[None, None, T]
"""Work that yields after each forward pass, so that who waits sees that it goes on, and returns a value."""


def finished(passes: Passes[T]) -> T:
    """Do such work to its end and return what it found."""
    while True:
        try:
            next(passes)
        except StopIteration as stop:
            found: T = stop.value
            return found


class Measurable(Protocol):
    """Whose losses can be taken: a pack of trials, or one model that is trained plainly."""

    def losses(self, batch: Batch, rows: slice, correct: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``[n, m]`` the summed loss of each example for the trials in ``rows``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What an evaluation found of one trial."""

    losses: torch.Tensor
    """``[size]`` summed loss on each example, on the CPU."""
    measures: Measures | None = None
    """What a final evaluation measures beside them."""


class EvalSet:
    """The first ``size`` validation examples, in chunks of ``rows``.

    Args:
        split: the validation split.
        size: how many of its examples, from the first.
        rows: examples per trial in one forward pass.
        device: where the batches lie.
    """

    def __init__(self, split: Split, size: int, rows: int, device: torch.device) -> None:
        self.size = size
        self.target_tokens = tuple(int(count) for count in split.target_tokens[:size])
        lengths = np.asarray(split.lengths[:size])
        order = np.argsort(lengths, kind="stable")
        self._chunks: list[tuple[torch.Tensor, Batch]] = []
        for start in range(0, size, rows):
            chosen = order[start : start + rows]
            # The last chunk is filled up with its own first example, so that all have one shape.
            filled = np.concatenate([chosen, np.repeat(chosen[:1], rows - len(chosen))])
            batch = collate(split, [filled], padded_length(int(lengths[chosen].max())), device)
            self._chunks.append((torch.from_numpy(chosen), batch))

    @property
    def tokens(self) -> int:
        """Tokens of one trial in the longest pass, padding included."""
        return self._chunks[-1][1].tokens.numel()

    def losses(self, pack: Measurable, rows: slice) -> torch.Tensor:
        """Return ``[n, size]`` each trial's summed loss on each example, on the CPU."""
        return finished(self.measuring(pack, rows))

    def losses_and_correct(self, pack: Measurable, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses, and ``[n, size]`` how many target tokens of each example are the likeliest."""
        return finished(self.measuring_both(pack, rows))

    def measuring_both(self, pack: Measurable, rows: slice) -> Passes[tuple[torch.Tensor, torch.Tensor]]:
        """Do what ``losses_and_correct`` does, a pass at a time."""
        correct = torch.zeros(rows.stop - rows.start, self.size, dtype=torch.int64)
        losses = yield from self.measuring(pack, rows, correct)
        return losses, correct

    def measuring(
        self, pack: Measurable, rows: slice, correct: torch.Tensor | None = None
    ) -> Passes[torch.Tensor]:
        """Do what ``losses`` does, a pass at a time; where ``correct`` is given, it is filled."""
        trials = rows.stop - rows.start
        losses = torch.zeros(trials, self.size)
        for chosen, batch in self._chunks:
            counted = None
            if correct is not None:
                counted = torch.zeros(
                    trials * len(batch.tokens), dtype=torch.int64, device=batch.tokens.device
                )
            measured = pack.losses(repeated(batch, trials), rows, counted)
            losses[:, chosen] = measured[:, : len(chosen)].cpu()
            if correct is not None and counted is not None:
                correct[:, chosen] = counted.view(trials, -1)[:, : len(chosen)].cpu()
            yield
        return losses

    def measure_longest(self, pack: Measurable, rows: slice) -> None:
        """Run the chunk of the longest examples alone, for the memory that it takes."""
        _, batch = self._chunks[-1]
        pack.losses(repeated(batch, rows.stop - rows.start), rows)


def mean_loss(losses: torch.Tensor, target_tokens: tuple[int, ...]) -> float:
    """Return the mean over target tokens of summed losses ``[n]``."""
    return float(losses.double().sum()) / sum(target_tokens)
