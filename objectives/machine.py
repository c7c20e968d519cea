"""What this machine has right now: GPUs by their driver's own count, and memory. Does not import torch."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil

SECONDS = 60.0
"""How long the driver may take to count; it wakes sleeping GPUs."""

_COUNT = """
import ctypes, sys
try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError:
    print(0)
    sys.exit()
count = ctypes.c_int(0)
if driver.cuInit(0) == 0:
    driver.cuDeviceGetCount(ctypes.byref(count))
print(count.value)
"""
"""Asks the driver, which knows CUDA_VISIBLE_DEVICES, containers and slices of a GPU as PyTorch does."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """What a run can use."""

    gpus: int | None
    """GPUs that a process sees; None where nobody can tell."""
    ram_bytes: int
    """Memory of the machine, or of its container, that is free."""


def count_gpus() -> int | None:
    """Return how many GPUs a process started now would see, None where that cannot be told.

    Counted in a process of its own: one that has spoken to the driver keeps memory on a GPU or must not be
    copied.
    """
    try:
        asked = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _COUNT],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        count = int(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    # AMD's GPUs have another driver, of which PyTorch makes CUDA devices as well.
    if count == 0 and Path("/dev/kfd").exists():
        return None
    slices = visible_names(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    # However many slices of GPUs are named, a process is given the first; a worker each can have them all.
    return len(slices) if count and slices and slices[0].startswith("MIG-") else count


def visible_names(visible: str) -> tuple[str, ...]:
    """Return the devices that ``CUDA_VISIBLE_DEVICES`` names, as the driver reads it, in their order.

    What comes after the first that is no device is not looked at, and a list that names one twice names
    none.

    >>> visible_names("3, GPU-77,-1,5"), visible_names("0,0"), visible_names("")
    (('3', 'GPU-77'), (), ())
    """
    names: list[str] = []
    for name in (one.strip() for one in visible.split(",")):
        if not re.match(r"\d|GPU-|MIG-", name):
            break
        if name in names:
            return ()
        names.append(name)
    return tuple(names)


def free_ram() -> int:
    """Return the bytes of memory that are free on this machine, or in its container."""
    return min(int(psutil.virtual_memory().available), _cgroup_room())


def process_memory() -> int:
    """Return the bytes of memory that this process holds, pages that it shares with others included."""
    return int(psutil.Process().memory_info().rss)


def _cgroup_room() -> int:
    """Return the bytes that a container's limit leaves (cgroup v2), more than any machine has without one."""
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
        return int(limit.read_text()) - int(used.read_text())
    return sys.maxsize
