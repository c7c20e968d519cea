"""Examples as padded tensors, for several trials in one forward pass.

Rows of a trial lie together and are padded on the right: under causal attention a real token never
sees the padding, so no attention mask is needed and shapes depend on nothing but the micro-step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ..data.dataset import Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Supervised:
    """The positions that the loss is taken on, those of the first trial first."""

    positions: torch.Tensor
    """``[s]`` index into the ``n · m · T`` hidden states of the batch; each predicts the next token."""
    labels: torch.Tensor
    """``[s]`` the token that follows."""
    rows: torch.Tensor
    """``[s]`` the row of the batch it belongs to, of ``n · m``."""
    counts: tuple[int, ...]
    """``[n]`` how many of them are each trial's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """What n trials read in one forward pass."""

    tokens: torch.Tensor
    """``[n · m, T]`` token ids, the rows of a trial together."""
    supervised: Supervised
    """Where the loss is taken."""
    real_tokens: tuple[int, ...]
    """``[n]`` tokens of each trial that are no padding."""

    @property
    def target_tokens(self) -> tuple[int, ...]:
        """``[n]`` tokens of each trial that the loss is taken on."""
        return self.supervised.counts


def collate(
    split: Split,
    examples: Sequence[npt.NDArray[np.int64]],
    length: int,
    device: torch.device,
) -> Batch:
    """Gather each trial's examples ``n × [m]`` and pad them to ``length`` tokens.

    Token 0 pads: no real token sees it and no loss is taken on it, so any id would do.
    """
    tokens = np.zeros((sum(len(chosen) for chosen in examples), length), dtype=np.int64)
    positions, labels, rows = [], [], []
    real, counts = [], []
    row = 0
    for chosen in examples:
        count = 0
        for index in chosen:
            ids, target = split.example(int(index))
            tokens[row, : len(ids)] = ids
            predicted = np.flatnonzero(target)
            positions.append(row * length + predicted - 1)
            labels.append(np.asarray(ids)[predicted])
            rows.append(np.full(len(predicted), row))
            count += len(predicted)
            row += 1
        real.append(int(sum(split.lengths[chosen])))
        counts.append(count)
    return Batch(
        tokens=_upload(tokens, device),
        supervised=Supervised(
            positions=_upload(np.concatenate(positions), device),
            labels=_upload(np.concatenate(labels), device),
            rows=_upload(np.concatenate(rows), device),
            counts=tuple(counts),
        ),
        real_tokens=tuple(real),
    )


def repeated(batch: Batch, times: int) -> Batch:
    """Return a batch of one trial as the same batch for several."""
    rows, length = batch.tokens.shape
    own = batch.supervised
    trial = torch.arange(times, device=batch.tokens.device)[:, None]
    return Batch(
        tokens=batch.tokens.repeat(times, 1),
        supervised=Supervised(
            positions=(own.positions + trial * (rows * length)).flatten(),
            labels=own.labels.repeat(times),
            rows=(own.rows + trial * rows).flatten(),
            counts=own.counts * times,
        ),
        real_tokens=batch.real_tokens * times,
    )


def _upload(values: npt.NDArray[np.int64], device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device; Python does not wait until a GPU has it."""
    tensor = torch.from_numpy(values.astype(np.int64, copy=False))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
