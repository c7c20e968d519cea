"""True worker processes, killed at random by the system's own signal: the record is the undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from loratune.objectives.workers.process import ProcessWorker

HERE = Path(__file__).parent
TRIALS = 8
KILLS = 12


class Processes:
    """Makes worker processes of the tiny session, and kills one of them now and then."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.alive: dict[int, ProcessWorker] = {}
        self.kills = 0

    def __call__(self, index: int) -> ProcessWorker:
        self.alive[index] = ProcessWorker(
            index, self.logs / f"worker-{index}.log", session="tiny_session:TinySession"
        )
        return self.alive[index]

    def kill_now_and_then(self, over: threading.Event) -> None:
        dice = random.Random(3)
        while self.kills < KILLS and not over.wait(dice.uniform(0.2, 0.7)):
            workers = [worker for worker in list(self.alive.values()) if worker._process.poll() is None]
            if workers:
                os.kill(dice.choice(workers).pid, signal.SIGKILL)
                self.kills += 1


def test_a_deterministic_study_is_the_same_whoever_is_killed(
    new_bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(HERE.parent / "objectives" / "workers")
    # Who runs out of memory elsewhere on this machine is none of this test's business.
    monkeypatch.setattr("loratune.objectives.workers.process.oom_kills", lambda: 0)
    found = []
    for disturbed in (False, True):
        bench, fleet, over = new_bench(), Processes(tmp_path / str(disturbed)), threading.Event()
        bench.create(TRIALS, bench.config(model="slow"))
        killer = threading.Thread(target=fleet.kill_now_and_then, args=(over,))
        if disturbed:
            killer.start()
        try:
            bench.run(fleet=fleet, count=2, deterministic=True)
        finally:
            over.set()
            if disturbed:
                killer.join()
        found.append(bench.sequence())
        assert bool(bench.events("worker")) is disturbed
    assert fleet.kills >= 3, "the study was over before it was disturbed"
    assert found[1] == found[0]
