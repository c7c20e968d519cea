"""Where a worker computes, and in which number type: what ``auto`` means, and what is refused.

Asks PyTorch alone. Knows nothing of models, nor of a machine's other workers.
"""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from pathlib import Path

import torch

from ...errors import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def find_device(device: str) -> torch.device:
    """Return the device that ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` means here; raises ``ModelError``."""
    if device == "auto":
        # The pack is tried on CPUs and CUDA GPUs; any other accelerator leaves the work to the CPU. Nothing
        # that joins a group of processes is asked: under a launcher it would wait for the others for ever.
        return torch.device("cuda", 0) if gpu_count() else torch.device("cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError:
        wanted = None
    if wanted is None or wanted.type not in ("cpu", "cuda"):
        raise ModelError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:N")
    if wanted.type == "cpu":
        return torch.device("cpu")
    count = gpu_count()
    if (wanted.index or 0) >= count:
        there = f"this machine has {count}, from cuda:0" if count else "PyTorch finds no CUDA GPU here"
        raise ModelError(f"device: {device!r} is not there, {there}; use --device auto or --device cpu")
    return torch.device("cuda", wanted.index or 0)


def find_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the number type that ``dtype`` means on the device; raises ``ModelError``.

    What is trained stays in float32 in each case, and in float16 losses are scaled (``loss_scale.py``).
    """
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if _has_bfloat16(device) else torch.float16
    if dtype not in DTYPES:
        raise ModelError(f"dtype: {dtype!r} is not one of auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def stored_dtype(dtype: str, device: torch.device, before: str) -> str:
    """Return what ``dtype`` means on the device for a study that was made in the number type ``before``.

    Where a GPU has no bfloat16 of its own, ``auto`` has meant float32 in studies of before.
    """
    old = device.type == "cuda" and not _has_bfloat16(device)
    return before if dtype == "auto" and old and before in ("float32", "float16") else dtype


def gpu_count() -> int:
    """Return how many GPUs PyTorch can use here."""
    with warnings.catch_warnings():  # a broken CUDA driver warns and counts as none
        warnings.simplefilter("ignore")
        return torch.cuda.device_count() if torch.cuda.is_available() else 0


def dtype_note(dtype: str, device: torch.device) -> str | None:
    """Return what the user should know of the number type that ``dtype`` means on the device."""
    limit = (
        "float16 holds no number above 65504: a trial whose loss passes it ends as diverged, though in "
        "float32 or bfloat16 it might have gone on"
    )
    if dtype == "float16":
        return limit
    if device.type != "cuda" or _has_bfloat16(device):
        return None
    if dtype == "bfloat16":
        return f"{device_name(device)} only emulates bfloat16, which is slow; try --dtype float32 or float16"
    if dtype == "auto":
        return (
            f"{device_name(device)} has no bfloat16 of its own, so the base is held in float16, each trial's "
            f"losses scaled; --dtype float32 takes twice the memory and is slower. {limit}"
        )
    return None


def device_name(device: torch.device) -> str:
    """Return the device in words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {os.cpu_count() or 1} cores"


def _has_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies bfloat16 itself; an emulation is slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
