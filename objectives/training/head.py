"""The output head and its cross-entropy, on supervised positions only.

The full ``[rows, T, vocab]`` logits never exist: the supervised hidden states go through the head in
chunks, and the gradient that comes back is that of the hidden states. On a CPU trials go one by one, in
chunks padded to a multiple of 16 rows, because a matrix product of fewer rows takes another path in the
CPU's library and rounds differently. On a GPU, which rounds by shape in any case, all trials go together,
and the derivative is written down rather than left to autograd: the logits of a large vocabulary are read
and written less often (docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.nn import functional

from .batches import Supervised

ROW_MULTIPLE = 16
CHUNK_BYTES = {"cpu": 64 * 2**20, "cuda": 256 * 2**20}
"""Most memory of one chunk of float32 logits. A GPU needs more rows to be busy (docs/benchmarks.md)."""


def head_loss(
    head: torch.nn.Module,
    hidden: torch.Tensor,
    supervised: Supervised,
    *,
    vocab_size: int,
    want_gradient: bool,
    correct: torch.Tensor | None = None,
    factors: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the losses and, where wanted, the gradient of their sum.

    Args:
        head: the frozen output embedding.
        hidden: ``[n · m, T, d]`` last hidden states, the rows of a trial together.
        supervised: where the loss is taken.
        vocab_size: width of the logits; sets the size of a chunk.
        want_gradient: whether a backward pass follows.
        factors: ``[n]`` what the gradient of each trial is multiplied by before it is rounded; None: one.
        correct: ``[n · m]``; where given, each example's tokens that are the likeliest are added to it.

    Returns:
        Summed cross-entropy of each example ``[n, m]`` in float32, and the gradient of the sum over
        everything with respect to ``hidden``, or None.
    """
    rows = hidden.shape[0]
    states = hidden.detach().reshape(-1, hidden.shape[-1])
    gradient = torch.zeros_like(states) if want_gradient else None
    losses = torch.zeros(rows, device=hidden.device)
    loss_of = _loss_in_few_passes if in_few_passes(hidden.device) else _loss_by_autograd
    for cut in _chunks(supervised.counts, vocab_size, hidden.device):
        positions, labels = supervised.positions[cut], supervised.labels[cut]
        picked = _padded(states[positions]).requires_grad_(want_gradient)
        with torch.set_grad_enabled(want_gradient):
            logits = head(picked)
            if len(logits) != len(labels):
                logits = logits[: len(labels)]
            chosen = None if factors is None else _of_rows(factors, rows)[supervised.rows[cut]]
            loss, back = loss_of(logits, labels, picked, chosen)
        if gradient is not None:
            gradient.index_copy_(0, positions, back[: len(labels)])
        losses.index_add_(0, supervised.rows[cut], loss.detach())
        if correct is not None:
            correct.index_add_(0, supervised.rows[cut], (logits.argmax(dim=-1) == labels).to(correct.dtype))
    trials = len(supervised.counts)
    return losses.view(trials, -1), None if gradient is None else gradient.reshape(hidden.shape)


def in_few_passes(device: torch.device) -> bool:
    """Say whether the loss's derivative is written down there; a CPU keeps the bits that it had."""
    return device.type == "cuda"


def _loss_by_autograd(
    logits: torch.Tensor, labels: torch.Tensor, picked: torch.Tensor, factors: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``[c]`` the losses of ``[c, vocab]`` logits, and the gradient of ``picked`` if it asks for one.

    Args:
        logits: of the first rows of ``picked``.
        labels: ``[c]`` the tokens that should be likeliest.
        picked: ``[≥ c, d]`` what the logits were computed from; wanted where it asks for a gradient.
        factors: ``[c]`` what each loss counts in it; None: one.
    """
    loss = functional.cross_entropy(logits.float(), labels, reduction="none")
    if not picked.requires_grad:
        return loss, picked[:0]
    (back,) = torch.autograd.grad((loss if factors is None else loss * factors).sum(), picked)
    return loss, back


def _loss_in_few_passes(
    logits: torch.Tensor, labels: torch.Tensor, picked: torch.Tensor, factors: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what ``_loss_by_autograd`` does, of fewer operations that are as wide as the vocabulary.

    The derivative of a loss by its logits is their softmax less one at the label. It is computed in float32
    and rounded once, as autograd does.
    """
    scores = functional.log_softmax(logits.detach(), dim=-1, dtype=torch.float32)
    at_label = labels[:, None]
    loss = -scores.gather(1, at_label).squeeze(1)
    if not picked.requires_grad:
        return loss, picked[:0]
    of_label = torch.expm1(-loss)
    if factors is not None:
        scores += factors.log()[:, None]
        of_label = of_label * factors
    slopes = torch.exp(scores, out=torch.empty_like(scores, dtype=logits.dtype))
    del scores  # as wide as the vocabulary, in float32
    slopes.scatter_(1, at_label, of_label[:, None].to(slopes.dtype))
    (back,) = torch.autograd.grad(logits, picked, slopes)
    return loss, back


def next_tokens(head: torch.nn.Module, hidden: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Return ``[rows]`` the likeliest token after the position ``last`` ``[rows]`` of each row."""
    picked = hidden[torch.arange(len(last), device=hidden.device), last]
    logits: torch.Tensor = head(_padded(picked))[: len(last)]
    return logits.float().argmax(dim=-1)


def chunk_rows(vocab_size: int, device: torch.device) -> int:
    """Return how many positions go through the head at once."""
    return max(ROW_MULTIPLE, CHUNK_BYTES[device.type] // (4 * vocab_size) // ROW_MULTIPLE * ROW_MULTIPLE)


def _chunks(counts: tuple[int, ...], vocab_size: int, device: torch.device) -> Iterator[slice]:
    """Yield the positions that go through the head together: on a CPU, those of one trial alone."""
    limit = chunk_rows(vocab_size, device)
    start = 0
    for count in (sum(counts),) if device.type == "cuda" else counts:
        stop = start + count
        yield from (slice(first, min(first + limit, stop)) for first in range(start, stop, limit))
        start = stop


def _of_rows(factors: torch.Tensor, rows: int) -> torch.Tensor:
    """Return ``[n · m]`` what belongs to each row, of ``[n]`` that belongs to each trial."""
    return factors.repeat_interleave(rows // len(factors))


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows with zero rows behind them, up to a multiple of 16."""
    missing = -len(rows) % ROW_MULTIPLE
    return functional.pad(rows, (0, 0, 0, missing))
