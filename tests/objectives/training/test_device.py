"""Where a worker computes and in which number type, told by pretended GPUs."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from loratune.errors import ModelError
from loratune.objectives.training.device import dtype_note, find_device, find_dtype, stored_dtype

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int, *, bfloat16: str = "its own") -> None:
    """Let PyTorch find GPUs whose bfloat16 is ``its own`` or ``emulated``."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or bfloat16 == "its own",
    )


@pytest.mark.parametrize(("count", "taken"), [(0, "cpu"), (1, "cuda:0"), (8, "cuda:0")])
def test_auto_takes_the_gpu_where_there_is_one(
    count: int, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_gpus(monkeypatch, count)
    assert find_device("auto") == torch.device(taken)


def test_a_driver_that_is_broken_counts_as_no_gpu_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        warnings.warn("CUDA initialization: the driver is too old", UserWarning, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    assert find_device("auto") == CPU


def test_a_worker_under_a_launcher_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**launched, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}.items():
        monkeypatch.setenv(name, value)

    def joined(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the process would wait for the rest of its group")

    monkeypatch.setattr(torch.distributed, "init_process_group", joined)
    assert find_device("auto") == CPU
    pretend_gpus(monkeypatch, 2)
    assert find_device("auto") == GPU
    assert find_dtype("auto", GPU) == torch.bfloat16
    assert os.environ["LOCAL_RANK"] == "1"


@pytest.mark.parametrize("device", ["mps", "gpu", "cuda:-3", "", "meta"])
def test_a_device_of_another_name_is_refused(device: str) -> None:
    with pytest.raises(ModelError, match="is not one of auto, cpu, cuda, cuda:N"):
        find_device(device)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="PyTorch finds no CUDA GPU here; use --device auto"):
        find_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda") == torch.device("cuda", 0)
    assert find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ModelError, match="this machine has 2, from cuda:0"):
        find_device("cuda:2")


def test_auto_takes_bfloat16_only_on_a_gpu_that_has_it_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_dtype("auto", CPU) == torch.float32
    pretend_gpus(monkeypatch, 1)
    assert find_dtype("auto", GPU) == torch.bfloat16
    pretend_gpus(monkeypatch, 1, bfloat16="emulated")
    assert find_dtype("auto", GPU) == torch.float16
    assert find_dtype("bfloat16", GPU) == torch.bfloat16
    assert find_dtype("float16", GPU) == torch.float16
    with pytest.raises(ModelError, match="'int8' is not one of auto, float32"):
        find_dtype("int8", GPU)


def test_a_study_of_before_keeps_its_number_type_on_an_old_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1, bfloat16="emulated")
    assert stored_dtype("auto", GPU, "float32") == "float32"
    assert stored_dtype("auto", GPU, "float16") == "float16"
    assert stored_dtype("auto", GPU, "bfloat16") == "auto"  # made on another GPU, which is told
    assert stored_dtype("bfloat16", GPU, "float32") == "bfloat16"
    assert stored_dtype("auto", CPU, "float16") == "auto"
    pretend_gpus(monkeypatch, 1)
    assert stored_dtype("auto", GPU, "float32") == "auto"


def test_what_an_old_gpu_does_without_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1, bfloat16="emulated")
    said = str(dtype_note("auto", GPU))
    assert said.startswith("Tesla T4 has no bfloat16 of its own, so the base is held in float16")
    assert "--dtype float32 takes twice the memory" in said
    assert "no number above 65504" in said
    assert "only emulates bfloat16" in str(dtype_note("bfloat16", GPU))
    assert dtype_note("float32", GPU) is None
    assert dtype_note("auto", CPU) is None
    pretend_gpus(monkeypatch, 1)
    assert dtype_note("auto", GPU) is dtype_note("bfloat16", GPU) is None


@pytest.mark.parametrize("device", [GPU, CPU])
def test_what_float16_cannot_hold_is_said(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1)
    assert "no number above 65504" in str(dtype_note("float16", device))
