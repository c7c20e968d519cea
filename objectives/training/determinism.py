"""The same numbers each time on a GPU, as far as PyTorch can promise them; on a CPU they are so anyway.

Sums over the threads of a GPU end in no fixed order: in the backward pass of attention, and wherever
several numbers are added into one place. PyTorch has a slower way round each of those that it knows.
"""

from __future__ import annotations

import os

import torch

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def compute_deterministically(device: torch.device) -> None:
    """Switch the deterministic ways on for this process; before its first product on the GPU.

    An operation that has none raises a ``RuntimeError`` from then on. A CPU is left as it is: its losses
    are those of a run without the switch, bit for bit.
    """
    if device.type != "cuda":
        return
    # cuBLAS reads it when it is first used; these are the two values under which it repeats itself.
    if os.environ.get(_WORKSPACE) not in (":4096:8", ":16:8"):
        os.environ[_WORKSPACE] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    # Costs time and finds only reads of memory that nobody wrote.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
