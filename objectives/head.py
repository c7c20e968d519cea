"""The output head and its cross-entropy, on supervised positions only.

The full ``[rows, T, vocab]`` logits never exist: each trial's supervised hidden states go through
the head in chunks, and the gradient that comes back is that of the hidden states. Trials go one by
one, in chunks padded to a multiple of 16 rows, because a matrix product of fewer rows takes another
path in the CPU's library and rounds differently.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .batches import Supervised

ROW_MULTIPLE = 16
CHUNK_BYTES = 64 * 2**20
"""Most memory of one chunk of float32 logits."""


def head_loss(
    head: torch.nn.Module,
    hidden: torch.Tensor,
    supervised: tuple[Supervised, ...],
    *,
    vocab_size: int,
    want_gradient: bool,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the losses and, where wanted, the gradient of their sum.

    Args:
        head: the frozen output embedding.
        hidden: ``[n · m, T, d]`` last hidden states, the rows of a trial together.
        supervised: ``[n]`` where each trial's loss is taken.
        vocab_size: width of the logits; sets the size of a chunk.
        want_gradient: whether a backward pass follows.

    Returns:
        Summed cross-entropy of each example ``[n, m]`` in float32, and the gradient of the sum over
        everything with respect to ``hidden``, or None.
    """
    trials = len(supervised)
    rows = hidden.shape[0] // trials
    states = hidden.detach().reshape(trials, -1, hidden.shape[-1])
    gradient = torch.zeros_like(states) if want_gradient else None
    losses = torch.zeros(trials, rows, device=hidden.device)
    limit = chunk_rows(vocab_size)
    for trial, own in enumerate(supervised):
        for start in range(0, len(own.positions), limit):
            cut = slice(start, start + limit)
            positions, labels = own.positions[cut], own.labels[cut]
            picked = _padded(states[trial][positions]).requires_grad_(want_gradient)
            with torch.set_grad_enabled(want_gradient):
                logits = head(picked)[: len(labels)].float()
                loss = functional.cross_entropy(logits, labels, reduction="none")
            if gradient is not None:
                (back,) = torch.autograd.grad(loss.sum(), picked)
                gradient[trial].index_copy_(0, positions, back[: len(labels)])
            losses[trial].index_add_(0, own.examples[cut], loss.detach())
    return losses, None if gradient is None else gradient.reshape(hidden.shape)


def chunk_rows(vocab_size: int) -> int:
    """Return how many positions go through the head at once."""
    return max(ROW_MULTIPLE, CHUNK_BYTES // (4 * vocab_size) // ROW_MULTIPLE * ROW_MULTIPLE)


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows with zero rows behind them, up to a multiple of 16."""
    missing = -len(rows) % ROW_MULTIPLE
    return functional.pad(rows, (0, 0, 0, missing))
