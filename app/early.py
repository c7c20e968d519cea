"""Workers that start before it is known that they are needed, so that they import while the first one looks.

They are told nothing until it is known how many there are to be, and on which devices.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

from ..errors import WorkerError
from ..objectives.machine import free_ram
from ..objectives.workers.process import ProcessWorker
from ..search.concurrency import in_flight_limit
from .places import cores, threads_on
from .workers import make_worker

FREE_RAM = 4 * 2**30
"""Free memory for each of them; it takes less than a tenth of it, and the first one is to find the rest."""


class EarlyWorkers:
    """Worker processes by index, each taken once; what has not been taken is closed at the end."""

    def __init__(self) -> None:
        self._workers: dict[int, tuple[ProcessWorker, int, str]] = {}
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> EarlyWorkers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # All of them, also where Ctrl-C is pressed again while the first one is being closed.
        self._closing.close()

    @property
    def all(self) -> tuple[ProcessWorker, ...]:
        """Those that have not been taken."""
        return tuple(worker for worker, _, _ in self._workers.values())

    def start(self, logs: Path, devices: tuple[str, ...]) -> None:
        """Start workers of indices 1, 2 … on these devices; one that cannot is tried when it is needed."""
        for index, device in enumerate(devices, start=1):
            threads = threads_on(device)
            with contextlib.suppress(WorkerError):
                worker = make_worker(index, logs / f"worker-{index}.log", threads=threads, device=device)
                self._closing.callback(worker.close)
                self._workers[index] = worker, threads, device

    def keep(self, count: int) -> None:
        """Close those that are more than a study of so many workers needs."""
        for index in [index for index in self._workers if index >= count]:
            self._workers.pop(index)[0].close()

    def take(self, index: int, *, threads: int, device: str) -> ProcessWorker | None:
        """Return the worker of an index, None where none was started as it is needed now."""
        if index not in self._workers:
            return None
        worker, *known = self._workers.pop(index)
        if known == [threads, device]:
            return worker
        worker.close()
        return None


def devices_beside_the_first(chosen: str, wanted: int | None, trials: int, gpus: int) -> tuple[str, ...]:
    """Return the devices of the workers that will probably be wanted beside the first one.

    Args:
        chosen: the device that the user chose.
        wanted: how many workers the user wants, None for as many as there is room for.
        trials: how many trials the study is to have.
        gpus: how many GPUs there are, 0 where none is or nobody can tell.
    """
    if chosen.startswith("cuda:"):
        return ()
    most = in_flight_limit(trials, min(wanted or gpus, gpus) or 1)
    count = min(wanted or gpus or cores(), most, free_ram() // FREE_RAM)
    if gpus:
        return tuple(f"cuda:{index}" for index in range(1, min(count, gpus)))
    return ("cpu",) * (count - 1)
