"""Who owns a study: which process that is, and whether it still runs.

Pure but for ``here``, ``running`` and ``end``, which ask the operating system. Knows no database.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil

from ..errors import StudyBusy

Standing = Literal["alive", "dead", "elsewhere"]
"""``elsewhere``: its process cannot be seen from here, on another machine or in another container."""

TERM_SECONDS = 15.0
"""How long an owner is given to end at its next boundary before it is killed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """One process of one machine, told from every other one past or future."""

    host: str
    """The machine's name."""
    pid: int
    """The process id."""
    started: float
    """When it started, seconds since the epoch; moves when the clock is set."""
    machine: str = ""
    """The machine's own id: many machines are named alike. Empty where there is none."""
    boot: str = ""
    """Id of the machine's present run; after a restart every earlier process is gone."""
    namespace: str = ""
    """The space of process ids, one per container; ids mean nothing in another one."""
    ticks: int | None = None
    """Start time in clock ticks since boot, which no setting of the clock moves; None where unknown."""

    def identity(self) -> str:
        """Return what is not in columns of its own, as JSON."""
        return json.dumps([self.machine, self.boot, self.namespace, self.ticks])

    @classmethod
    def of(cls, host: str, pid: int, started: float, identity: str) -> Process:
        """Read a process back from its columns."""
        machine, boot, namespace, ticks = json.loads(identity)
        return cls(
            host=host, pid=pid, started=started, machine=machine, boot=boot, namespace=namespace, ticks=ticks
        )


def standing(owner: Process, here: Process, running: Callable[[int], Process | None]) -> Standing:
    """Tell whether an owner runs, as far as the process ``here`` can know.

    ``running`` gives the process that has an id now, or None.
    """
    if owner.host != here.host or _differ(owner.machine, here.machine):
        return "elsewhere"
    if _differ(owner.boot, here.boot):
        return "dead"
    if _differ(owner.namespace, here.namespace):
        return "elsewhere"
    now = running(owner.pid)
    if now is None:
        return "dead"
    if owner.ticks is not None and now.ticks is not None:
        return "alive" if owner.ticks == now.ticks else "dead"
    return "alive" if abs(owner.started - now.started) < 1.0 else "dead"


def here() -> Process:
    """Return this process."""
    found = running(os.getpid())
    assert found is not None
    return found


def running(pid: int) -> Process | None:
    """Return the process that has this id now, or None; a zombie has ended."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            started = process.create_time()
    except psutil.NoSuchProcess:
        return None
    return Process(
        host=socket.gethostname(),
        pid=pid,
        started=started,
        machine=_text("/etc/machine-id"),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        namespace=_link("/proc/self/ns/pid"),
        ticks=_ticks(pid),
    )


def end(owner: Process, *, wait: float = TERM_SECONDS) -> None:
    """End an owner on this machine: SIGTERM, and SIGKILL where it goes on after ``wait`` seconds.

    Raises ``StudyBusy`` where that is not permitted.
    """
    if owner.pid == os.getpid():
        raise StudyBusy(f"this very process (pid {owner.pid}) owns the study; close its other store first")
    try:
        process = psutil.Process(owner.pid)
        if running(owner.pid) is None or standing(owner, here(), running) != "alive":
            return
        process.terminate()
        if _ends(owner, wait):
            return
        process.kill()
        if _ends(owner, wait):
            return
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        pass
    raise StudyBusy(
        f"process {owner.pid} owns the study and could not be ended; end it yourself and try again"
    )


def _ends(owner: Process, wait: float) -> bool:
    """Wait for an owner's end; a zombie has ended, even where its parent never asks for its exit code."""
    deadline = time.monotonic() + wait
    while standing(owner, here(), running) == "alive":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _differ(one: str, other: str) -> bool:
    """Return whether two ids are known and not the same."""
    return bool(one and other and one != other)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _ticks(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat; the name before it may hold spaces and brackets (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
