"""Workers that are started before they are needed: which, and that none is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loratune.app import early
from loratune.errors import WorkerError


class Process:
    """Stands for a worker process."""

    def __init__(self, index: int, log: Path, *, threads: int, device: str) -> None:
        if device == "cuda:9":
            raise WorkerError("no such device")
        self.index, self.log, self.closed = index, log, 0

    def close(self) -> None:
        self.closed += 1
        if self.index == 2:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Process]:
    found: list[Process] = []

    def make(*given: Any, **more: Any) -> Process:
        found.append(Process(*given, **more))
        return found[-1]

    monkeypatch.setattr(early, "make_worker", make)
    monkeypatch.setattr(early, "cores", lambda: 3)
    monkeypatch.setattr(early, "free_ram", lambda: 64 * 2**30)
    monkeypatch.setattr(early, "threads_on", lambda device: 8 if device.startswith("cuda") else 1)
    return found


@pytest.mark.parametrize(
    ("chosen", "wanted", "trials", "gpus", "devices"),
    [
        ("cpu", None, 100, 0, ("cpu", "cpu")),
        ("auto", None, 100, 0, ("cpu", "cpu")),
        ("cpu", 2, 100, 0, ("cpu",)),
        ("cpu", 1, 100, 0, ()),
        ("cpu", None, 6, 0, ("cpu",)),  # two trials at once
        ("cpu", None, 2, 0, ()),
        ("cuda", None, 100, 4, ("cuda:1", "cuda:2", "cuda:3")),
        ("cuda", 2, 100, 4, ("cuda:1",)),
        ("cuda", 8, 100, 4, ("cuda:1", "cuda:2", "cuda:3")),  # refused before any starts
        ("cuda:2", None, 100, 4, ()),
        ("auto", None, 6, 4, ("cuda:1", "cuda:2")),  # on several GPUs half of the trials at once
    ],
)
def test_as_many_start_as_trials_would_run_in(
    chosen: str, wanted: int | None, trials: int, gpus: int, devices: tuple[str, ...]
) -> None:
    assert early.devices_beside_the_first(chosen, wanted, trials, gpus) == devices


def test_none_starts_early_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early, "free_ram", lambda: 7 * 2**30)
    assert early.devices_beside_the_first("cpu", None, 100, 0) == ()


def test_each_is_taken_once_and_only_as_it_was_started(made: list[Process], tmp_path: Path) -> None:
    with early.EarlyWorkers() as workers:
        workers.start(tmp_path, ("cpu", "cuda:9", "cpu"))
        first, third = made
        assert (first.log, third.log) == (tmp_path / "worker-1.log", tmp_path / "worker-3.log")
        assert workers.all == (first, third)
        assert workers.take(1, threads=1, device="cpu") is first
        assert workers.take(1, threads=1, device="cpu") is None
        assert workers.take(2, threads=8, device="cuda:9") is None  # it could not be started
        assert workers.take(3, threads=8, device="cuda:3") is None
        assert (first.closed, third.closed) == (0, 1)


def test_those_that_are_too_many_end_before_the_search_begins(made: list[Process], tmp_path: Path) -> None:
    with early.EarlyWorkers() as workers:
        workers.start(tmp_path, ("cpu", "cuda:9", "cpu", "cpu"))
        workers.keep(2)
        assert [process.closed for process in made] == [0, 1, 1]
        assert workers.all == (made[0],)


def test_all_are_closed_also_where_ctrl_c_interrupts_the_closing_of_one(
    made: list[Process], tmp_path: Path
) -> None:
    workers = early.EarlyWorkers()
    workers.start(tmp_path, ("cpu", "cpu", "cpu"))
    with pytest.raises(KeyboardInterrupt):
        workers.__exit__(None, None, None)
    assert [process.closed for process in made] == [1, 1, 1]
