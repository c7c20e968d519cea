"""Processes run to their end while their time and memory are watched."""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """What some processes took together."""

    wall: float
    """Seconds from the start of the first to the end of the last."""
    cpu: float
    """Processor time of all."""
    peak_pss: int
    """Most memory of all together, shared pages counted once, bytes."""
    peak_rss: int
    """The same with shared pages counted in every process."""


class Memory(threading.Thread):
    """Watches the memory of processes and all that descend from them."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self.pss = self.rss = 0
        self._roots = tuple(pids)
        self._over = threading.Event()

    def run(self) -> None:
        """Look twice a second."""
        while not self._over.wait(0.5):
            pss = rss = 0
            for process in self._family():
                try:
                    resident = process.memory_info().rss
                except psutil.Error:
                    continue
                rss += resident
                pss += shared_once(process.pid) or resident
            self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()

    def _family(self) -> list[psutil.Process]:
        found = []
        for pid in self._roots:
            try:
                root = psutil.Process(pid)
                found += [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        return found


def shared_once(pid: int) -> int | None:
    """Return a process's proportional set size in bytes, None where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def watch(commands: Sequence[Sequence[str]], folder: Path, threads: int | None = None) -> Watched:
    """Run commands side by side to the end of the last; where one fails, show its output and end.

    Their threads are as many as torch takes by itself, whatever this process was told, unless they are given.
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"HF_HUB_OFFLINE": "1", "TUNE_PLAIN": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    logs = [folder / f"output-{number}.log" for number in range(len(commands))]
    began, spent = time.perf_counter(), processor_time()
    processes: list[subprocess.Popen[bytes]] = []
    memory = None
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("wb") as output:
                processes.append(
                    subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment)
                )
        memory = Memory([process.pid for process in processes])
        memory.start()
        for process, log in zip(processes, logs, strict=True):
            if process.wait() != 0:
                said = log.read_text()[-3000:]
                sys.exit(f"{' '.join(process.args[:4])} … ended with {process.returncode}:\n{said}")
    finally:
        if memory is not None:
            memory.stop()
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return Watched(
        wall=time.perf_counter() - began,
        cpu=processor_time() - spent,
        peak_pss=memory.pss,
        peak_rss=memory.rss,
    )


def processor_time() -> float:
    """Return the processor time of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
