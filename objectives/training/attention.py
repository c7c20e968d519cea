"""Whether attention on a GPU keeps its scores, which grow with the square of the length.

PyTorch's ``scaled_dot_product_attention`` chooses a kernel by number type, head size and mask. The fused
ones keep no scores; the plain one, which is left where none of them can run, does. Flash attention needs
half precision, and the memory-efficient one no grouped heads: a float32 model with them falls through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import masking_utils

GROUPED_HEAD_LIMIT = 256
"""Up to this head size Transformers hands grouped heads to PyTorch as they are; past it they are expanded."""


@contextlib.contextmanager
def never_packed() -> Iterator[None]:
    """Tell Transformers that no row holds several sequences, which it would otherwise look up in each pass.

    Looking up waits for a GPU. Where it may not wait, because the pass is being recorded, it would assume
    the contrary and hand attention a mask, with which the fast kernels are out.
    """
    known = getattr(masking_utils, "find_packed_sequence_indices", None)
    if known is None:
        yield
        return
    masking_utils.find_packed_sequence_indices = lambda *_args, **_options: None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = known


def keeps_scores(config: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether a model of this text configuration falls back to plain attention on the device.

    A CPU has a fused kernel for every number type.
    """
    if device.type != "cuda":
        return False
    heads, groups, size = head_shape(config)
    if size > GROUPED_HEAD_LIMIT:
        groups = heads
    query = torch.zeros(1, heads, 16, size, device=device, dtype=dtype)
    key = torch.zeros(1, groups, 16, size, device=device, dtype=dtype)
    return not any_fused(query, key)


def any_fused(query: torch.Tensor, key: torch.Tensor) -> bool:
    """Say whether a fused kernel takes causal attention without a mask, for training."""
    asked = torch.backends.cuda.SDPAParams(
        query.requires_grad_(), key.requires_grad_(), key, None, 0.0, True, query.shape[1] != key.shape[1]
    )
    cuda = torch.backends.cuda
    able = (cuda.can_use_flash_attention, cuda.can_use_efficient_attention, cuda.can_use_cudnn_attention)
    return any(can(asked) for can in able)


def head_shape(config: Any) -> tuple[int, int, int]:
    """Return (query heads, key heads, size of a head) of a text configuration."""
    heads = int(config.num_attention_heads)
    groups = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return heads, groups, size
