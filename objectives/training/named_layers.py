"""What ``lora_target`` names, held against the names in a model's files: no torch, nothing loaded.

The layers themselves are found in the loaded model (targets.py); this only finds a name that is none of them
early, for architectures whose weights are stored under the names that the loaded model has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import ModelError, nearest
from ..size import weight_shapes

ALL = "all"
"""The target that means every linear layer of the decoder but the head, as PEFT's ``all-linear``."""

_SAME_NAMES = {
    *("gemma", "gemma2", "gpt2", "gpt_neox", "granite", "llama", "mistral", "olmo2", "opt", "phi", "phi3"),
    *("qwen2", "qwen3", "smollm3", "stablelm", "starcoder2"),
}
"""Model types with dense layers, loaded under the names that their files have."""


def check_targets(folder: Path, lora_targets: Sequence[str]) -> None:
    """Raise ``ModelError`` for a name that no layer of the model in a folder has, where that can be told."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if not isinstance(config, dict) or config.get("model_type") not in _SAME_NAMES:
        return
    architecture = config.get("architectures")
    # Layers of the decoder are numbered; embeddings and the head are not.
    layers = [
        name.removesuffix(".weight")
        for name, shape in weight_shapes(folder).items()
        if name.endswith(".weight") and len(shape) == 2 and re.search(r"\.\d+\.", f".{name}")
    ]
    if not layers or not isinstance(architecture, list) or len(architecture) != 1:
        return
    for target in lora_targets:
        for name in names_of(target):
            # A full name may begin with a part that the files leave out.
            if name != ALL and not any(matches(name, layer) or matches(layer, name) for layer in layers):
                raise no_such_layer(name, str(architecture[0]), layers)


def no_such_layer(name: str, architecture: str, layers: Iterable[str]) -> ModelError:
    """Return the complaint about a name that none of a model's layers has."""
    known = sorted({layer.rpartition(".")[2] for layer in layers})
    return ModelError(
        f"lora_target: {name!r} is no linear layer of {architecture}"
        f"{nearest(name, known)}; it has {', '.join(known)}"
    )


def names_of(lora_target: str) -> tuple[str, ...]:
    """Return the module names of a target."""
    return tuple(name.strip() for name in lora_target.split(","))


def matches(name: str, layer: str) -> bool:
    """Say whether a module name of the user's means this layer."""
    return layer == name or layer.endswith(f".{name}")
