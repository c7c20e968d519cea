"""RMS norms of a frozen base on a GPU, by PyTorch's own kernel.

Transformers writes an RMS norm as seven operations, each of which reads and writes all hidden states:
1.22 ms forward and backward for 32,768 tokens of width 896 on an H200, where PyTorch's kernel takes 0.18
(docs/benchmarks.md). It also rounds once where Transformers rounds twice, so in half precision an entry
may differ in its last bit. A CPU keeps Transformers' norms: there a trial's bits are promised.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional

ROUNDINGS = 4
"""Most units in the last place by which the two may differ."""


def fuse_norms(model: torch.nn.Module) -> int:
    """Let PyTorch compute each RMS norm that it computes alike; return how many.

    Left as they are: norms of another formula (Gemma multiplies by one plus the weight), told by their
    outputs, and modules whose ``forward`` somebody has replaced already. The model is changed in place.
    """
    fused = 0
    for module in model.modules():
        if _is_rms_norm(module) and _computes_alike(module):
            module.forward = functools.partial(_forward, module)
            fused += 1
    return fused


def fused(model: torch.nn.Module) -> bool:
    """Say whether PyTorch computes an RMS norm of the model."""
    return any(_replaced(module) for module in model.modules())


def _replaced(module: torch.nn.Module) -> bool:
    own = vars(module).get("forward")
    return isinstance(own, functools.partial) and own.func is _forward


def _is_rms_norm(module: Any) -> bool:
    """Say whether a module has the name and the parts of Transformers' RMS norms."""
    weight = getattr(module, "weight", None)
    return (
        type(module).__name__.endswith("RMSNorm")
        and isinstance(getattr(module, "variance_epsilon", None), float)
        and isinstance(weight, torch.Tensor)
        and weight.dim() == 1
        and weight.is_floating_point()
        and "forward" not in vars(module)
    )


@torch.no_grad()
def _computes_alike(module: Any) -> bool:
    """Compare both on a few random rows."""
    weight = module.weight
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, len(weight), generator=generator).to(weight)
    theirs, ours = module(rows), _forward(module, rows)
    if not isinstance(theirs, torch.Tensor) or (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        return False
    return torch.allclose(
        ours.float(), theirs.float(), rtol=ROUNDINGS * torch.finfo(weight.dtype).eps, atol=0
    )


def _forward(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return ``[…, d]`` the hidden states ``[…, d]`` divided by their root mean square, times the weight."""
    weight = module.weight
    if hidden.dtype != weight.dtype:  # under autocast: its own way, which says what comes out
        own: torch.Tensor = type(module).forward(module, hidden)
        return own
    return functional.rms_norm(hidden, (len(weight),), weight, module.variance_epsilon)
