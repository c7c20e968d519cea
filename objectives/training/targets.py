"""Which linear layers of the base model carry adapters.

Does not know how they are wrapped (pack.py). Layers are spoken of by their full name in the base
model, such as ``model.layers.0.self_attn.q_proj``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from ...errors import ModelError
from .named_layers import ALL, matches, names_of, no_such_layer


def resolve_targets(model: torch.nn.Module, lora_targets: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of the layers that any of the targets selects, in the model's order.

    Args:
        model: the base model.
        lora_targets: each ``all`` or names with commas, as ``LoraParams.lora_target`` spells it.

    Raises ``ModelError`` for a name that selects nothing, with the nearest one that would, and for
    ``all`` where PEFT would train experts too.
    """
    layers = tuple(name for name, _ in linear_layers(model))
    if not layers:
        raise ModelError(f"{type(model).__name__}: has no linear layers that an adapter could sit on")
    for target in lora_targets:
        for name in names_of(target):
            if name == ALL and has_experts(model):
                named = ",".join(sorted({layer.rpartition(".")[2] for layer in layers}))
                raise ModelError(
                    f"lora_target: 'all' would leave out the experts of {type(model).__name__}, which cannot "
                    f"carry adapters here; name the layers, such as {named}"
                )
            if name != ALL and not any(matches(name, layer) for layer in layers):
                raise no_such_layer(name, type(model).__name__, layers)
    return tuple(layer for layer in layers if any(selects(target, layer) for target in lora_targets))


def selects(lora_target: str, layer: str) -> bool:
    """Say whether a trial of that ``lora_target`` trains the adapter of this wrapped layer.

    A name selects the layers that are it or end in ``.name``, as PEFT's ``target_modules`` does.
    """
    return any(name == ALL or matches(name, layer) for name in names_of(lora_target))


def linear_layers(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Yield every ``nn.Linear`` and ``Conv1D`` of the decoder, with its full name in the model, in order.

    Neither the output head nor what a multimodal model sees and hears with is among them.
    """
    head, decoder = _part(model, "get_output_embeddings"), _part(model, "get_decoder")
    inside = set(model.modules() if decoder is None else decoder.modules())
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and module in inside and module is not head:
            yield name, module


def has_experts(model: Any) -> bool:
    """Say whether the model routes tokens to experts, which hold their weights outside linear layers."""
    config = getattr(model, "config", None)
    if config is None:
        return False
    shape = config.get_text_config()
    names = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
    return any((getattr(shape, name, None) or 0) > 1 for name in names)


def features(layer: Any) -> tuple[int, int]:
    """Return (in, out) of a linear layer, whichever way round it keeps its weight."""
    if isinstance(layer, Conv1D):
        return int(layer.nx), int(layer.nf)
    return int(layer.in_features), int(layer.out_features)


def fan_in_fan_out(layer: torch.nn.Module) -> bool:
    """Say whether the weight is stored ``[in, out]``, as GPT-2's ``Conv1D`` does."""
    return isinstance(layer, Conv1D)


def _part(model: torch.nn.Module, getter: str) -> torch.nn.Module | None:
    """Return the part of a model that one of Transformers' methods names, None where there is none."""
    get = getattr(model, getter, None)
    part = get() if callable(get) else None
    return part if isinstance(part, torch.nn.Module) else None
