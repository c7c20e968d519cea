"""What the hooks of a pack compute: the adapters' part of a layer's output, and its gradients.

One pass through the base serves some rows of the pack; a ``Pass`` says which, and with what. Knows nothing of
how rows are filled, moved and freed (``pack.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .layout import LayerSlice, RunViews
from .rank_groups import Run
from .rng import dropout_mask

_WIDE_PRODUCT = hasattr(torch.ops.aten.bmm, "dtype")
"""Whether this PyTorch multiplies half precision into float32 (on CUDA, from 2.8 on)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dropout:
    """One trial's dropout in one micro-step."""

    p: float
    """Chance that an input of an adapter is dropped."""
    seed: int
    """The trial's seed."""
    position: int
    """Examples that the trial had seen before the micro-step."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass:
    """One forward and backward pass through the base: for which trials the hooks compute, and with what."""

    rows: slice
    """Their rows of the pack; none between passes."""
    scales: torch.Tensor
    """``[n, 1, 1]`` float32: rounded, it would be another alpha."""
    dropout: Sequence[Dropout | None] = ()
    """``[n]`` their dropout."""
    runs: tuple[Run, ...] = ()
    """The rows, cut by the ranks that they are computed to."""
    views: Mapping[str, tuple[RunViews, ...]] = dataclasses.field(default_factory=dict)
    """By layer: what each run computes with."""

    @property
    def rank(self) -> int:
        """The highest rank in it."""
        return max(run.rank for run in self.runs)

    @property
    def cuts(self) -> tuple[slice, ...]:
        """The runs as places among the pass's own rows."""
        before = self.rows.start
        return tuple(slice(run.start - before, run.stop - before) for run in self.runs)


class Update(torch.autograd.Function):
    """``output + s · B A inputs`` for the rows of each trial, and its gradients.

    The gradients of A and B go straight into the pack's ``grads``, so no tensor as large as the
    adapters is ever made in between.
    """

    @staticmethod
    def forward(
        ctx: Any,
        output: torch.Tensor,
        inputs: torch.Tensor,
        _anchor: torch.Tensor,
        layer: LayerSlice,
        used: Pass,
    ) -> torch.Tensor:
        """Add the adapters' part to ``output`` in place; what the backward pass needs is kept."""
        trials = used.rows.stop - used.rows.start
        x = inputs.reshape(trials, -1, layer.in_features)
        x = _dropped(x, layer, used.dropout, length=inputs.shape[-2])
        y = output.view(trials, -1, layer.out_features)
        lows = []
        for cut, views in zip(used.cuts, used.views[layer.name], strict=True):
            low = torch.bmm(x[cut], views.a_transposed.to(x.dtype)).mul_(used.scales[cut])  # [n, m T, rank]
            # In place: nobody needs the plain output any more, and it is as large as the activations.
            y[cut].baddbmm_(low, views.b_transposed.to(x.dtype))
            lows.append(low)
        ctx.mark_dirty(output)
        ctx.save_for_backward(x, *lows)
        ctx.call = layer, used, inputs.shape
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Add A's and B's gradients to the pack's; return that of ``output``, and of ``inputs`` if asked."""
        (grad_output,) = grad_outputs
        x, *lows = ctx.saved_tensors
        layer, used, shape = ctx.call
        grad = grad_output.reshape(len(x), -1, layer.out_features)
        back = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        for cut, views, low in zip(used.cuts, used.views[layer.name], lows, strict=True):
            grad_low = torch.bmm(grad[cut], views.b.to(x.dtype)).mul_(used.scales[cut])  # [n, m T, rank]
            _accumulate(views.grad_b, grad[cut].transpose(1, 2), low)
            _accumulate(views.grad_a, grad_low.transpose(1, 2), x[cut])
            if back is not None:
                torch.bmm(grad_low, views.a.to(x.dtype), out=back[cut])
        grad_inputs = None
        if back is not None:
            grad_inputs = _dropped(back, layer, used.dropout, length=shape[-2], owned=True).reshape(shape)
        return grad_output, grad_inputs, None, None, None


def _accumulate(into: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Add ``left @ right`` to float32 gradients, without rounding the product to less on the way.

    A step sums many micro-batches. Rounded to bfloat16 each, their small parts would be lost.
    """
    if left.dtype == into.dtype:
        into.baddbmm_(left, right)
    elif left.is_cuda and _WIDE_PRODUCT:
        into.add_(torch.bmm(left, right, out_dtype=into.dtype))
    else:
        into.baddbmm_(left.to(into.dtype), right.to(into.dtype))


def _dropped(
    x: torch.Tensor,
    layer: LayerSlice,
    dropout: Sequence[Dropout | None],
    *,
    length: int,
    owned: bool = False,
) -> torch.Tensor:
    """Return ``x`` ``[n, m T, in]`` with each trial's own dropout; the rows of the others as they are.

    The mask is made anew wherever it is needed (forward, recomputation, backward): it is a function
    of the trial's seed and position, and keeping it would cost as much memory as ``x``.
    """
    if not any(dropout):
        return x
    x = x if owned else x.clone()
    for row, own in enumerate(dropout):
        if own is not None:
            shape = (x.shape[1] // length, length, x.shape[2])
            mask = dropout_mask(own.seed, layer.name, own.position, shape, own.p, x.device)
            x[row].mul_(mask.view(x.shape[1:]).to(x.dtype)).div_(1.0 - own.p)
    return x
