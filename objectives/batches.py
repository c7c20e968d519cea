"""Examples as padded tensors, for several trials in one forward pass.

Rows of a trial lie together and are padded on the right: under causal attention a real token never
sees the padding, so no attention mask is needed and shapes depend on nothing but the tick.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from .dataset import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised:
    """The positions of one trial's rows that the loss is taken on."""

    positions: torch.Tensor
    """``[s]`` index into the trial's ``rows · T`` hidden states; each predicts the next token."""
    labels: torch.Tensor
    """``[s]`` the token that follows."""
    examples: torch.Tensor
    """``[s]`` the row it belongs to, from 0 within the trial."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """What n trials read in one forward pass."""

    tokens: torch.Tensor
    """``[n · m, T]`` token ids, the rows of a trial together."""
    supervised: tuple[Supervised, ...]
    """``[n]`` where each trial's loss is taken."""
    real_tokens: tuple[int, ...]
    """``[n]`` tokens of each trial that are no padding."""
    target_tokens: tuple[int, ...]
    """``[n]`` tokens of each trial that the loss is taken on."""


def collate(
    split: Split,
    examples: Sequence[npt.NDArray[np.int64]],
    length: int,
    device: torch.device,
) -> Batch:
    """Gather each trial's examples ``n × [m]`` and pad them to ``length`` tokens.

    Token 0 pads: no real token sees it and no loss is taken on it, so any id would do.
    """
    rows = sum(len(chosen) for chosen in examples)
    tokens = np.zeros((rows, length), dtype=np.int64)
    supervised, real, targets = [], [], []
    row = 0
    for chosen in examples:
        positions, labels, owners = [], [], []
        for owner, index in enumerate(chosen):
            ids, target = split.example(int(index))
            tokens[row, : len(ids)] = ids
            predicted = np.flatnonzero(target)
            positions.append(owner * length + predicted - 1)
            labels.append(np.asarray(ids)[predicted])
            owners.append(np.full(len(predicted), owner))
            row += 1
        real.append(int(sum(split.lengths[chosen])))
        targets.append(sum(len(part) for part in positions))
        supervised.append(
            Supervised(
                positions=_tensor(np.concatenate(positions), device),
                labels=_tensor(np.concatenate(labels), device),
                examples=_tensor(np.concatenate(owners), device),
            )
        )
    return Batch(
        tokens=torch.from_numpy(tokens).to(device),
        supervised=tuple(supervised),
        real_tokens=tuple(real),
        target_tokens=tuple(targets),
    )


def repeated(batch: Batch, times: int) -> Batch:
    """Return a batch of one trial as the same batch for several."""
    return Batch(
        tokens=batch.tokens.repeat(times, 1),
        supervised=batch.supervised * times,
        real_tokens=batch.real_tokens * times,
        target_tokens=batch.target_tokens * times,
    )


def _tensor(values: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.int64)).to(device)
