"""Activations that are computed again in the backward pass, to save memory, and freed memory handed back."""

from __future__ import annotations

import torch

from ..allocator import hand_back_at_once
from .model import BaseModel


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
        hand_back_at_once()
