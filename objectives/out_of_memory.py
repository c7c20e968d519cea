"""Whether an exception means that memory ran out, on a device or on the machine; needs no torch to say so."""

from __future__ import annotations

import errno
import sys

from ..errors import LoratuneError
from .base import says_out_of_memory


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or what caused it, means that memory ran out, on device or machine."""
    seen: BaseException | None = error
    while seen is not None:
        if _says_out_of_memory(seen):
            return True
        seen = seen.__cause__
    return False


def _says_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # The allocator of the CPU and libraries of CUDA raise a plain RuntimeError, a library that cannot be
    # loaded an ImportError, safetensors an error of its own.
    return not isinstance(error, LoratuneError) and says_out_of_memory(str(error))
