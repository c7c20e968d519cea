"""Where each layer's A and B lie in a trial's row.

A row holds all A matrices, then all B matrices, so that whatever treats them differently (LoRA+)
cuts it once. Knows shapes only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from ...spaces.params import LoraParams
from .rank_groups import Run
from .targets import selects


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerSlice:
    """One wrapped linear layer's place in a row."""

    name: str
    """Full name of the module in the base model."""
    in_features: int
    """Features that go in."""
    out_features: int
    """Features that come out."""
    a_start: int
    """Where its A begins in a row."""
    b_start: int
    """Where its B begins in a row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunViews:
    """One layer's part of the rows of n trials that are computed to one rank; views, which copy nothing."""

    a: torch.Tensor
    """``[n, rank, in]``."""
    a_transposed: torch.Tensor
    """``[n, in, rank]`` the same numbers."""
    b: torch.Tensor
    """``[n, out, rank]``."""
    b_transposed: torch.Tensor
    """``[n, rank, out]`` the same numbers."""
    grad_a: torch.Tensor
    """``[n, rank, in]`` where A's gradient is added."""
    grad_b: torch.Tensor
    """``[n, out, rank]`` where B's gradient is added."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowLayout:
    """The layout of every row of a pack."""

    layers: tuple[LayerSlice, ...]
    """Every wrapped layer, in the model's order."""
    rank_max: int
    """Rank that every A and B has room for; what a trial does not use of it is zeros."""
    width: int
    """Numbers in a row (P)."""
    b_start: int
    """Where the first B begins."""

    @classmethod
    def of(cls, shapes: Iterable[tuple[str, int, int]], rank_max: int) -> RowLayout:
        """Lay out layers given as (name, in features, out features)."""
        layers = list(shapes)
        b_start = sum(in_features for _, in_features, _ in layers) * rank_max
        slices = []
        a_at, b_at = 0, b_start
        for name, in_features, out_features in layers:
            slices.append(
                LayerSlice(
                    name=name,
                    in_features=in_features,
                    out_features=out_features,
                    a_start=a_at,
                    b_start=b_at,
                )
            )
            a_at += rank_max * in_features
            b_at += rank_max * out_features
        return cls(layers=tuple(slices), rank_max=rank_max, width=b_at, b_start=b_start)

    def a(self, rows: torch.Tensor, layer: LayerSlice) -> torch.Tensor:
        """View ``[..., P]`` as one layer's A ``[..., rank_max, in]``."""
        size = self.rank_max * layer.in_features
        return rows.narrow(-1, layer.a_start, size).view(*rows.shape[:-1], self.rank_max, layer.in_features)

    def b(self, rows: torch.Tensor, layer: LayerSlice) -> torch.Tensor:
        """View ``[..., P]`` as one layer's B ``[..., out, rank_max]``."""
        size = self.rank_max * layer.out_features
        return rows.narrow(-1, layer.b_start, size).view(*rows.shape[:-1], layer.out_features, self.rank_max)

    def run(self, params: torch.Tensor, grads: torch.Tensor, layer: LayerSlice, run: Run) -> RunViews:
        """Return the views of one layer that a run of trials computes with, of rows ``[K, P]``."""
        a, grad_a = (self.a(rows[run.rows], layer)[:, : run.rank] for rows in (params, grads))
        b, grad_b = (self.b(rows[run.rows], layer)[:, :, : run.rank] for rows in (params, grads))
        return RunViews(
            a=a,
            a_transposed=a.transpose(1, 2),
            b=b,
            b_transposed=b.transpose(1, 2),
            grad_a=grad_a,
            grad_b=grad_b,
        )

    def live(self, params: LoraParams) -> tuple[LayerSlice, ...]:
        """Return the layers that a trial trains; all others stay zero in its row."""
        return tuple(layer for layer in self.layers if selects(params.lora_target, layer.name))
