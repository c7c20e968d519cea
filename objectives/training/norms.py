"""RMS norms of a frozen base on a GPU, by PyTorch's own kernel.

Transformers writes an RMS norm as eight operations, most of which read and write all hidden states: 1.22 ms
forward and backward for 32,768 tokens of width 896 on an H200, where PyTorch's kernel takes 0.18
(docs/benchmarks.md). That also rounds once where Transformers rounds twice, so last digits differ. A CPU
keeps Transformers' norms: there a trial's bits are promised.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional

ROUNDINGS = 4
"""Most units in the last place by which the two may differ."""


def fuse_norms(model: torch.nn.Module) -> None:
    """Let PyTorch compute each RMS norm that it computes alike; the model is changed in place.

    Those are norms as Llama, Qwen, Mistral and their like have them. Left as they are: those that keep their
    epsilon by another name (Gemma, which also multiplies by one plus the weight), those whose output is
    another, and modules whose ``forward`` somebody has replaced already.
    """
    for module in model.modules():
        if _is_rms_norm(module) and "forward" not in vars(module) and _computes_alike(module):
            module.forward = functools.partial(_forward, module)


def unfuse_norms(model: torch.nn.Module) -> None:
    """Give a model the norms of Transformers back."""
    for module in model.modules():
        if _is_fused(module):
            del module.forward


def all_fused(model: torch.nn.Module) -> bool:
    """Say whether the model has RMS norms, and PyTorch computes each of them."""
    norms = [module for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    return bool(norms) and all(_is_fused(norm) for norm in norms)


def _is_fused(module: torch.nn.Module) -> bool:
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
    )


@torch.no_grad()
def _computes_alike(module: Any) -> bool:
    """Compare both on a few random rows, some so small that epsilon counts."""
    weight = module.weight
    rows = torch.randn(8, len(weight), generator=torch.Generator().manual_seed(0))
    rows[4:] *= module.variance_epsilon**0.5
    rows = rows.to(weight)
    try:
        theirs = module(rows)
    except Exception:  # a model's own code, which may want more than hidden states
        return False
    ours = _forward(module, rows)
    if not isinstance(theirs, torch.Tensor) or (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        return False
    kind = torch.finfo(weight.dtype)
    # Below its smallest normal number a type has steps of one size.
    relative, absolute = ROUNDINGS * kind.eps, ROUNDINGS * kind.tiny * kind.eps
    return torch.allclose(ours.double(), theirs.double(), rtol=relative, atol=absolute)


def _forward(module: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Return ``[…, d]`` the hidden states ``[…, d]`` divided by their root mean square, times the weight."""
    weight = module.weight
    if hidden.dtype != weight.dtype:  # its own way, which says what number type comes out
        own: torch.Tensor = type(module).forward(module, hidden)
        return own
    return functional.rms_norm(hidden, (len(weight),), weight, module.variance_epsilon)
