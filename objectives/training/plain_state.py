"""The state of a plain training as a file: as large as the model three times over, so written as it lies.

A sealed safetensors file like every checkpoint, but made without a copy of the tensors in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from ... import digest
from . import checkpoint

_ALIGNMENT = 8
"""The format lets tensors begin at a multiple of 8 bytes."""


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write float32 tensors on the CPU so that the name appears only once the bytes are on disk.

    ``checkpoint.read`` reads it. Raises ``StorageError`` where the disk is full.
    """
    header: dict[str, object] = {"__metadata__": {**metadata, **digest.LABELS}}
    start = 0
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float32, f"{name} is {tensor.dtype}"
        end = start + tensor.numel() * 4
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = len(text).to_bytes(8, "little") + text
    flat = (tensor.contiguous().reshape(-1).numpy() for tensor in tensors.values() if tensor.numel())
    data = [numbers.data.cast("B") for numbers in flat]
    sealed = head.replace(digest.BLANK.encode(), digest.of(head, *data).encode())
    checkpoint.write_pieces(path, (sealed, *data))
