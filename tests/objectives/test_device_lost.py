"""A GPU that does not answer is told from a model that is wrong and from memory that ran out."""

from __future__ import annotations

import pytest
from loratune.errors import ModelError
from loratune.objectives.device_lost import lost_device


def caused(cause: Exception) -> ModelError:
    error = ModelError("model: cannot be loaded")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
        "CUDA error: an illegal memory access was encountered",
        "CUDA driver error: invalid device",
        "No CUDA GPUs are available",
    ],
)
def test_what_pytorch_says_of_a_gpu_that_does_not_answer_is_handed_on(words: str) -> None:
    error = RuntimeError(f"{words}\nCUDA kernel errors might be asynchronously reported")
    assert lost_device(error) == lost_device(caused(error)) == words


@pytest.mark.parametrize(
    "error",
    [
        ModelError("model: has no weights"),
        RuntimeError("CUDA error: out of memory"),
        caused(MemoryError("CUDA out of memory")),
        caused(RuntimeError("the shapes differ")),
    ],
)
def test_anything_else_is_no_lost_gpu(error: Exception) -> None:
    assert lost_device(error) is None
