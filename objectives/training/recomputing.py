"""Activations that are computed again in the backward pass, to save memory, and freed memory handed back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

import torch

from ..workers.environment import KEEPING
from .model import BaseModel

_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``mallopt``."""


def recompute_activations(base: BaseModel) -> None:
    """Switch gradient checkpointing on; Transformers does it in training mode only, so dropout goes to 0."""
    for module in base.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
    model = base.model
    # The second name is that of older releases.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # The decoder alone: a multimodal model in training mode may ask for more than tokens.
    decoder = model.get_decoder()
    (model if decoder is None else decoder).train()
    if base.device.type == "cpu":
        _hand_back_at_once()


def _hand_back_at_once() -> None:
    """Let glibc hand freed blocks of more than 128 KiB back to the system, for time (Linux).

    A worker is told to keep them for the next ones, and the blocks' inputs that lie in between keep it from
    joining them: recomputing took more than three times the memory that was in use. Not where the user has
    chosen.
    """
    chosen = os.environ.get("MALLOC_MMAP_THRESHOLD_", KEEPING["MALLOC_MMAP_THRESHOLD_"])
    if sys.platform == "linux" and chosen == KEEPING["MALLOC_MMAP_THRESHOLD_"]:
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such setting
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, 128 * 1024)
            library.mallopt(_TRIM_THRESHOLD, 128 * 1024)
