"""An adapter folded into the weights of its base model: ``W + alpha / r · B A``, in the base's dtype.

On the CPU, in this process, with the whole base in memory. Knows nothing of studies and of where it goes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers.pytorch_utils import Conv1D

from ...errors import ModelError, ReportError
from ...study.config import ModelConfig
from .model import load_stored, quiet

Matrices = Mapping[str, tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]]
"""By layer: A ``[r, in]`` and B ``[out, r]``."""


def fold(config: ModelConfig, matrices: Matrices, scaling: float, to: Path) -> None:
    """Write the base model with an adapter folded in, as ``save_pretrained`` writes one.

    Args:
        config: the base model; it is loaded on the CPU, in the number type of its files.
        matrices: the adapter.
        scaling: what ``B A`` is multiplied by, alpha over r.
        to: an empty folder.

    Raises:
        ModelError: the base cannot be loaded, is quantized, or has no such layer.
        ReportError: it cannot be written.
    """
    model = load_stored(dataclasses.replace(config, device="cpu"))
    for name, (a, b) in matrices.items():
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            raise ModelError(f"{config.name_or_path}: has no layer {name}; restore the model") from None
        update = scaling * (torch.from_numpy(b).float() @ torch.from_numpy(a).float())
        weight = layer.weight
        with torch.no_grad():
            # Rounded once: the sum is taken in float32.
            folded = weight.float() + (update.T if isinstance(layer, Conv1D) else update)
            weight.copy_(folded.to(weight.dtype))
    try:
        with quiet():
            model.save_pretrained(to)
    except OSError as error:
        raise ReportError(f"{to}: the model cannot be written ({error.strerror or error})") from error
