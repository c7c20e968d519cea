"""What glibc's allocator is told, seen in processes that start with it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from loratune.objectives.allocator import KEEPING
from loratune.objectives.workers.environment import child_environment

MAPPED = """
import ctypes, sys
from loratune.objectives.allocator import hand_back_at_once
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
class Info(ctypes.Structure):
    _fields_ = [(f"field{index}", ctypes.c_size_t) for index in range(10)]
libc.mallinfo2.restype = Info
def mapped():  # whether a block lies in pages of its own, which go back as soon as it is freed
    before = libc.mallinfo2().field3
    libc.malloc(4 * 2**20)
    return libc.mallinfo2().field3 > before
before = mapped()
hand_back_at_once()
print(before, mapped())
"""


def blocks_of_its_own(**environ: str) -> str:
    """Return whether a worker's large blocks have pages of their own, before it recomputes and after."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment = child_environment(kept | environ, threads=1, device="cpu")
    run = subprocess.run(
        [sys.executable, "-c", MAPPED], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's settings")
def test_a_worker_that_recomputes_hands_memory_back_though_workers_keep_it_unless_the_user_chose() -> None:
    assert blocks_of_its_own() == "False True"
    # What the user has set stays, be it as ours or otherwise.
    assert blocks_of_its_own(MALLOC_MMAP_THRESHOLD_=str(64 * 2**20), MALLOC_TOP_PAD_="0") == "False False"
    assert KEEPING["MALLOC_MMAP_THRESHOLD_"] == str(2**30)
