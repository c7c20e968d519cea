"""The environment of a worker process: how many threads, which device, how its memory is handed out.

Set before the process starts, because torch reads it once, as it is imported. Does not import torch.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

from ...errors import WorkerError
from .. import allocator
from ..machine import visible_names

_LAUNCHER = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"),
)
"""What torchrun and ``accelerate launch`` tell a process about the group that it belongs to."""

_ALLOCATORS = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
"""Names of the setting of PyTorch's allocator: since 2.9, and before. What the user set stays as it is."""


def child_environment(environ: Mapping[str, str], *, threads: int, device: str | None) -> dict[str, str]:
    """Return the environment of a worker: thread counts, an allocator, and no device but its own.

    It is no member of a group that a launcher may have made this process part of. ``cuda:N`` is counted
    among the devices that this process sees; for its worker it is the only one.
    """
    environment = {name: value for name, value in environ.items() if name not in _LAUNCHER}
    if not any(name in environ for name in _ALLOCATORS):
        # Micro-steps of many lengths leave holes of many sizes, unless the allocator's pieces can grow.
        environment[_ALLOCATORS[_torch_version() < (2, 9)]] = "expandable_segments:True"
    for name in ("OMP", "MKL", "OPENBLAS", "VECLIB_MAXIMUM", "NUMEXPR"):
        suffix = "_THREADS" if name.endswith("MAXIMUM") else "_NUM_THREADS"
        environment[name + suffix] = str(threads)
    environment["TOKENIZERS_PARALLELISM"] = "false"
    on_gpu = device is not None and device.startswith("cuda")
    if not on_gpu and not allocator.is_chosen(environ):
        environment |= allocator.KEEPING
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif device is not None and device.startswith("cuda:"):
        number = int(device.removeprefix("cuda:"))
        visible = environ.get("CUDA_VISIBLE_DEVICES")
        names = (str(number),) * (number + 1) if visible is None else visible_names(visible)
        if number >= len(names):
            raise WorkerError(f"device: {device} is not among CUDA_VISIBLE_DEVICES={visible}; name another")
        environment["CUDA_VISIBLE_DEVICES"] = names[number]
    return environment


def _torch_version() -> tuple[int, ...]:
    """Return major and minor version of the installed PyTorch, which is not loaded for it."""
    return tuple(int(part) for part in importlib.metadata.version("torch").split(".")[:2])
