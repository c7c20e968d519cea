"""Activations that are computed again in the backward pass, to save memory, and freed memory handed back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

import torch

from .model import BaseModel

_MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's ``mallopt``."""


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

    By itself it keeps them for the next ones, and the blocks' inputs that lie in between keep it from
    joining them: recomputing took four times the memory that was in use. Not where the user has chosen.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such setting
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 128 * 1024)
