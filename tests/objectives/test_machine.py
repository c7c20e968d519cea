"""What a machine has is asked of its driver and its system, and never by loading torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from loratune.objectives import machine

DRIVER = """
import ctypes
class Driver:
    def cuInit(self, flags):
        return {status}
    def cuDeviceGetCount(self, count):
        count._obj.value = {count}
        return 0
ctypes.CDLL = lambda name: Driver()
"""
"""A driver that is pretended in the process that counts."""


def pretend_driver(monkeypatch: pytest.MonkeyPatch, *, count: int, status: int = 0) -> None:
    monkeypatch.setattr(machine, "_COUNT", DRIVER.format(count=count, status=status) + machine._COUNT)


@pytest.mark.parametrize("count", [1, 8])
def test_gpus_are_those_that_the_driver_counts(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_driver(monkeypatch, count=count)
    assert machine.count_gpus() == count


@pytest.mark.parametrize(("given", "counted"), [(1, 2), (0, 0)])
def test_slices_of_a_gpu_are_as_many_as_are_named_though_a_process_is_given_one(
    given: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b,-1,MIG-c")
    pretend_driver(monkeypatch, count=given)
    assert machine.count_gpus() == counted


def test_a_driver_that_finds_no_device_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_driver(monkeypatch, count=8, status=100)
    assert machine.count_gpus() == 0


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_COUNT", machine._COUNT.replace("libcuda.so.1", "libcuda-nowhere.so.1"))
    monkeypatch.setattr(machine, "Path", lambda name: SimpleNamespace(exists=lambda: False))
    assert machine.count_gpus() == 0


def test_gpus_of_another_make_are_not_counted_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_COUNT", machine._COUNT.replace("libcuda.so.1", "libcuda-nowhere.so.1"))
    monkeypatch.setattr(machine, "Path", lambda name: SimpleNamespace(exists=lambda: name == "/dev/kfd"))
    assert machine.count_gpus() is None


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "raise SystemExit(3)", "print('many')"])
def test_a_driver_that_does_not_answer_leaves_it_open(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_COUNT", program)
    monkeypatch.setattr(machine, "SECONDS", 1.0)
    assert machine.count_gpus() is None


def test_free_memory_is_that_of_the_container_where_it_is_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(machine, "_cgroup_room", lambda: 400)
    assert machine.free_ram() == 400
    monkeypatch.setattr(machine, "_cgroup_room", lambda: sys.maxsize)
    assert machine.free_ram() == 1000


def test_counting_loads_no_torch(tmp_path: Path) -> None:
    program = "import sys; from loratune.objectives import machine as m; m.free_ram(); print(*sys.modules)"
    run = [sys.executable, "-c", program]
    told = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert not {"torch", "numpy"} & set(told.stdout.split())
