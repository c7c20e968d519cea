"""A frozen base that is quantized while it is loaded: what that takes, and how many bytes are left of it.

Loads neither torch nor bitsandbytes; which layers are quantized is Transformers' default: every linear layer
but the output head. Knows nothing of layers that were loaded (training/quantized.py).
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..study.config import ModelConfig
from .folder import is_quantized, quantizations

LIBRARY = "bitsandbytes"
LEAST = (0, 50)
"""The first release whose layers of four bits are known to train right on a CPU as well."""

BLOCK = 64
"""Weights of four bits that share a scale."""
SCALES = 256
"""Scales, one byte each, that share a float32 scale of their own."""
FLOAT32 = 4
"""Bytes of the scale of a row of eight bits, and of a scale of scales."""

_WHOLE = ("embed", "lm_head", "wte", "wpe", "norm", "ln_", "router")
"""Parts of the names of matrices that are no linear layer's, or are the output head's."""


def check_quantization(model: ModelConfig, folder: Path | None) -> None:
    """Raise ``ModelError`` where a base model cannot be quantized as was asked.

    Args:
        model: the base model.
        folder: where it lies; None for a Hub id, which is looked at when it is loaded.
    """
    bits = model.quantization_bit
    if bits is None:
        if folder is not None and any(
            quantized_by(settings) == LIBRARY for settings in quantizations(folder)
        ):
            check_library(f"{model.name_or_path}: is quantized and", "give the unquantized model")
        return
    check_library(f"quantization_bit: {bits}", "leave it out")
    if folder is not None and is_quantized(folder):
        raise quantized_already(model)


def check_library(what: str, otherwise: str) -> None:
    """Raise ``ModelError`` where the library that layers of few bits are of is missing or too old.

    Args:
        what: what needs it, the beginning of the sentence.
        otherwise: what else can be done where it is missing.
    """
    try:
        version = importlib.metadata.version(LIBRARY)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            f"{what} needs {LIBRARY}, which is not installed; "
            f"pip install 'loratune[quantized]', or {otherwise}"
        ) from None
    if _release(version) < LEAST:
        least = ".".join(map(str, LEAST))
        raise ModelError(
            f"{what} needs {LIBRARY} {least} or later, and {version} is installed; "
            "pip install --upgrade 'loratune[quantized]'"
        )


def quantized_by(settings: Mapping[str, Any]) -> str | None:
    """Return the library that a checkpoint's ``quantization_config`` names; None where it names none."""
    method = getattr(settings.get("quant_method"), "value", settings.get("quant_method"))
    if method is None and (settings.get("load_in_8bit") or settings.get("load_in_4bit")):
        return LIBRARY  # checkpoints from before the method was named
    return None if method is None else str(method)


def quantized_already(model: ModelConfig) -> ModelError:
    """Return the complaint about a checkpoint whose weights are quantized as they lie there."""
    return ModelError(
        f"quantization_bit: {model.name_or_path} is quantized already; leave it out, or give the unquantized "
        "model"
    )


def bytes_of_base(
    shapes: Mapping[str, tuple[int, ...]], dtype_bytes: int, quantization_bit: int | None = None
) -> int:
    """Return the bytes that a base model's weights take in memory once it is loaded.

    >>> bytes_of_base({"layers.0.q_proj.weight": (4096, 4096)}, 2, 4) / 4096**2
    0.515869140625

    Args:
        shapes: every weight's, by name, as ``size.weight_shapes`` tells them of a folder.
        dtype_bytes: bytes of a number that is not quantized.
        quantization_bit: 4, 8, or None where nothing is quantized.
    """
    return sum(
        _quantized_bytes(shape, quantization_bit)
        if quantization_bit is not None and is_linear(name, shape)
        else dtype_bytes * math.prod(shape)
        for name, shape in shapes.items()
    )


def is_linear(name: str, shape: tuple[int, ...]) -> bool:
    """Say whether a weight is that of a linear layer other than the output head, by its name and shape."""
    return len(shape) == 2 and name.endswith(".weight") and not any(part in name for part in _WHOLE)


def nf4_bytes(count: int) -> int:
    """Return the bytes of so many weights in nf4 whose scales are quantized too (QLoRA, section 3)."""
    blocks = math.ceil(count / BLOCK)
    return math.ceil(count / 2) + blocks + FLOAT32 * math.ceil(blocks / SCALES)


def _quantized_bytes(shape: tuple[int, ...], bits: int) -> int:
    count = math.prod(shape)
    if bits == 8:
        return count + FLOAT32 * shape[0]
    return nf4_bytes(count)


def _release(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version.

    >>> _release("0.50.2.dev1")
    (0, 50, 2)
    """
    numbers = []
    for part in version.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
