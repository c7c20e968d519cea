"""Whether an exception means that a GPU cannot be used; needs no torch to say so.

A card that is broken, or that another process holds for itself, is no fault of model or data: the others go
on.
"""

from __future__ import annotations

from .out_of_memory import ran_out_of_memory

_WORDS = ("CUDA error", "CUDA driver error", "CUDA unknown error", "No CUDA GPUs are available", "HIP error")
"""What PyTorch says of a device that does not answer, whatever the class of the exception."""


def lost_device(error: BaseException) -> str | None:
    """Return why a device cannot be used, in PyTorch's words; None where an exception means another thing."""
    if ran_out_of_memory(error):
        return None
    seen: BaseException | None = error
    while seen is not None:
        said = str(seen).splitlines()
        if found := [line for line in said if any(words in line for words in _WORDS)]:
            return found[0].strip()[:200]
        seen = seen.__cause__
    return None
