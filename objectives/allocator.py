"""What a worker on a CPU tells glibc's allocator: to keep freed memory, or to hand it back at once.

A micro-step frees what the next one asks for again; given back to the system in between, every page of it is
cleared anew, which took about a tenth of a small model's time (docs/log.md). Where activations are
recomputed, memory counts for more than time. What the user has chosen stays as it is, and other C libraries
ignore it. Imports no torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping

KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What glibc reads from the environment when a process starts, to keep freed memory."""

_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
"""``M_MMAP_THRESHOLD`` and ``M_TRIM_THRESHOLD`` of glibc's ``mallopt``."""


def is_chosen(environ: Mapping[str, str]) -> bool:
    """Return whether an environment says of the allocator what we do not."""
    names = (name for name in environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES")
    return any(environ[name] != KEEPING.get(name) for name in names)


def hand_back_at_once() -> None:
    """Let glibc hand freed blocks of more than 128 KiB back to the system, for time (Linux).

    A worker is told to keep them for the next ones, and the blocks' inputs that lie in between keep it from
    joining them: recomputing took more than three times the memory that was in use.
    """
    if sys.platform == "linux" and not is_chosen(os.environ):
        with contextlib.suppress(OSError, AttributeError):  # another C library has no such setting
            library = ctypes.CDLL(None)
            library.mallopt(_MMAP_THRESHOLD, 128 * 1024)
            library.mallopt(_TRIM_THRESHOLD, 128 * 1024)
