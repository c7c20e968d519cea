"""How likely each label is as the answer: the mean loss over its tokens, one forward pass for each label.

The examples are those of the final evaluation set, each once with every label in the place of its answer.
Nothing is shared between the labels of an example: the shapes are those of any evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..data.answers import Labels, prompt_and_answer
from ..data.dataset import Split
from .evaluation import EvalSet, Passes
from .pack import Pack


class LabelSet:
    """The first ``count`` validation examples with each label.

    Args:
        split: the validation split.
        labels: the labels.
        count: how many of the examples, from the first.
        rows: rows of a forward pass.
        room: most tokens of an example; the end of a prompt that leaves none for a label is cut.
        device: where the batches lie.
    """

    def __init__(
        self, split: Split, labels: Labels, count: int, rows: int, room: int, device: torch.device
    ) -> None:
        self.count, self.labels = count, len(labels.tokens)
        variants = _variants(split, labels, count, room)
        self._examples = EvalSet(variants, len(variants), rows, device)

    def measuring(self, pack: Pack, row: int) -> Passes[torch.Tensor]:
        """Return ``[count, labels]`` the mean loss of each label's tokens for the trial in a row."""
        (summed,) = yield from self._examples.measuring(pack, slice(row, row + 1))
        tokens = torch.tensor(self._examples.target_tokens)
        mean: torch.Tensor = summed / tokens
        return mean.view(self.count, self.labels)


def _variants(split: Split, labels: Labels, count: int, room: int) -> Split:
    """Return a split of ``count · labels`` examples, those of one prompt together."""
    tokens: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for prompt, label in _pairs(split, labels, count):
        kept = prompt[: max(1, room - len(label))]
        tokens.append(np.concatenate([kept, label]))
        targets.append(np.arange(len(kept) + len(label)) >= len(kept))
    offsets = np.cumsum([0, *(len(one) for one in tokens)], dtype=np.int64)
    return Split(
        tokens=np.concatenate(tokens).astype(np.int32), offsets=offsets, target=np.concatenate(targets)
    )


def _pairs(split: Split, labels: Labels, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index in range(count):
        prompt, _ = prompt_and_answer(split, index)
        for label in labels.tokens:
            yield prompt, np.asarray(label, np.int32)
