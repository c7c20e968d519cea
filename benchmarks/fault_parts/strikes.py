"""Processes that are killed and stopped, and searches that meet: what strikes a running search."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import psutil

from .study import Bench, Case, Running
from .tally import Tally, studies

IN_ROW = 2
"""Deaths of workers with no round on record in between; a third would make a trial itself suspect."""


class Watch:
    """Waits for moments at random of a running study, and notes how long it takes to go on."""

    def __init__(self, case: Case, rng: random.Random, whole: float) -> None:
        self.case = case
        self.rng = rng
        self.whole = whole
        self.since: float | None = None
        self.known = 0

    def struck(self, since: float) -> None:
        """Begin to wait for the next round on record."""
        self.since, self.known = since, self.case.rounds() or 0

    def look(self) -> None:
        """Note the time to the next round once it is there."""
        if self.since is not None and (self.case.rounds() or 0) > self.known:
            self.case.resumes.append(time.monotonic() - self.since)
            self.since = None

    def go_on(self, running: Running, rounds: int) -> None:
        """Wait until so many rounds are on record, or the command has ended."""
        self.case.wait_until(running, lambda: self.look() or (self.case.rounds() or 0) >= rounds)

    def moment(self, running: Running) -> str | None:
        """Wait for a moment at random and name it; None where the command ends before.

        Three in ten lie anywhere in the command's life, its start included; three shortly after some
        rounds were recorded; four within 20 ms of a file that appears or goes, where a boundary is.
        """
        case, rng = self.case, self.rng
        chosen = rng.random()
        if chosen < 0.3:
            until = time.monotonic() + rng.uniform(0, self.whole)
            words = "anywhere"
            condition: Callable[[], object] = lambda: time.monotonic() >= until  # noqa: E731
            after, pause = 0.0, 0.01
        elif chosen < 0.6:
            goal = (case.rounds() or 0) + rng.randint(1, 12)
            words = "after a round"
            condition = lambda: (case.rounds() or 0) >= goal  # noqa: E731
            after, pause = rng.uniform(0, 0.1), 0.01
        else:
            words = "at a boundary"
            condition = _changes(case, rng.randint(1, 30))
            after, pause = rng.uniform(0, 0.02), 0.001
        if not case.wait_until(running, lambda: self.look() or condition(), pause):
            return None
        time.sleep(after)
        return None if running.over else words


def _changes(case: Case, count: int) -> Callable[[], bool]:
    """Return whether the training states on disk have changed so many times."""
    seen, left = case.files(), count

    def changed() -> bool:
        nonlocal seen, left
        now = case.files()
        if now != seen:
            seen, left = now, left - 1
        return left <= 0

    return changed


def kill_coordinators(bench: Bench, times: int, *, workers: int = 1, all_at_once: bool = False) -> Tally:
    """Kill the search; its workers end by themselves, or are killed in the same moment."""
    kind = f"search killed{' with its workers' if all_at_once else ''}, {words(workers)}"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "both" if all_at_once else "search", workers):
        watch = Watch(case, rng, bench.seconds[workers])
        running = case.begin()
        while tally.times < times:
            watch.struck(running.begun)
            at = watch.moment(running)
            if at is None:
                break
            age, rounds = time.monotonic() - running.begun, case.rounds()
            living = running.living()
            running.process.send_signal(signal.SIGKILL)
            for worker in living if all_at_once else ():
                with contextlib.suppress(psutil.Error):
                    worker.kill()
            running.kill()
            case.left += running.orphans()
            tally.times += 1
            bench.emit(
                {"fault": kind, "number": tally.times, "at": at, "age": round(age, 3), "rounds": rounds}
            )
            running = case.begin()
    return tally


def kill_workers(bench: Bench, times: int, *, workers: int = 1) -> Tally:
    """Kill one worker at a time, at most twice without a round in between; the search goes on itself."""
    kind = f"worker killed, {words(workers)}"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "worker", workers):
        watch = Watch(case, rng, bench.seconds[workers])
        running = case.begin()
        rounds, in_row = -1, 0
        while tally.times < times:
            at = watch.moment(running)
            if at is None:
                break
            now = case.rounds() or 0
            if now == rounds and in_row >= IN_ROW:
                watch.go_on(running, now + 1)
                continue
            living = running.living()
            if not living:
                continue
            age = time.monotonic() - running.begun
            victim = rng.choice(living)
            with contextlib.suppress(psutil.Error):
                victim.kill()
            in_row = in_row + 1 if now == rounds else 1
            rounds = now
            watch.struck(time.monotonic())
            tally.times += 1
            bench.emit({"fault": kind, "number": tally.times, "at": at, "age": round(age, 3), "rounds": now})
        watch.look()
        # Before there is a study, a death ends the command in a line, and nothing was made.
        unmade = case.rounds() is None and len(running.complaints) == 1
        kept = not running.over or running.process.returncode == 0 or unmade
        tally.promise(kept, f"the search ended: {_last(running)}")
    return tally


def stop_for_a_while(bench: Bench, times: int) -> Tally:
    """Stop the search or a worker for some seconds and let it go on, as a laptop that sleeps."""
    kind = "search or worker stopped for a while"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "stopped"):
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        while tally.times < times and (at := watch.moment(running)) is not None:
            living = running.living()
            target = psutil.Process(running.process.pid)
            if living and rng.random() < 0.5:
                target = rng.choice(living)
            seconds = rng.uniform(0.2, 3.0)
            with contextlib.suppress(psutil.Error):
                target.suspend()
                time.sleep(seconds)
                target.resume()
            watch.struck(time.monotonic())
            tally.times += 1
            bench.emit({"fault": kind, "number": tally.times, "at": at, "seconds": round(seconds, 3)})
    return tally


def displace(bench: Bench, times: int) -> Tally:
    """Stop a search that another one cannot see, let that take the study over, and wake the first.

    The first runs under another host's name, as in another container: nobody can end it from outside,
    so what keeps it from writing is the number of its lease alone.
    """
    kind = "search stopped, displaced by another, and awake again"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    if not _can_be_elsewhere():
        tally.skipped = "no other host name can be given to a process here (unshare --uts)"
        return tally
    for case in studies(bench, tally, times, "displaced"):
        elsewhere = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
        case.before = elsewhere
        watch = Watch(case, rng, bench.seconds[1])
        first = case.begin()
        while watch.moment(first) is not None and not case.rounds():
            pass
        case.before = ()
        if first.over:
            continue
        first.living()
        stopped = [psutil.Process(first.process.pid), *first.workers]
        for process in stopped if rng.random() < 0.5 else stopped[:1]:
            process.suspend()
        busy = case.begin()
        tally.promise(busy.wait() == 1 and len(busy.complaints) == 1, f"not refused in a line: {busy.said}")
        second = case.begin("--take-over")
        watch.struck(second.begun)
        goal = (case.rounds() or 0) + rng.randint(1, 6)
        watch.go_on(second, goal)
        for process in stopped:
            with contextlib.suppress(psutil.Error):
                process.resume()
        code = first.wait()
        case.left += first.orphans()
        tally.times += 1
        tally.promise(
            code == 1 and len(first.complaints) == 1,
            f"the displaced search did not end in a line: {code} {_last(first)}",
        )
        bench.emit({"fault": kind, "number": tally.times, "rounds": goal, "said": first.complaints})
        case.finish(second)
        tally.promise(second.process.returncode == 0, f"the second search ended: {_last(second)}")
    return tally


def two_at_once(bench: Bench, times: int) -> Tally:
    """Begin two searches of one study at once, or one beside one that runs: one goes on, one is told."""
    kind = "two searches at once"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "two"):
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        while tally.times < times and (at := watch.moment(running)) is not None:
            if not case.rounds():
                continue
            together = rng.random() < 0.5
            if together:
                running.kill()
                case.left += running.orphans()
                running = case.begin()
                watch.struck(running.begun)
            second = case.begin()
            case.wait_until(running, lambda second=second: second.over)
            if not second.over:  # the first one lost, or ended: nobody else is left
                running, second = second, running
            code = second.wait()
            tally.times += 1
            beside = code == 1 and len(second.complaints) == 1
            # A study that ended in between is gone on with by whoever comes second, who finds nothing to do.
            tally.promise(beside or code == 0, f"not told in a line: {code} {_last(second)}")
            bench.emit({"fault": kind, "number": tally.times, "at": at, "together": together, "code": code})
    return tally


def _can_be_elsewhere() -> bool:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    tried = subprocess.run(
        ["unshare", "--uts", "sh", "-c", "hostname elsewhere"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _last(running: Running) -> str:
    return " / ".join(running.said.strip().splitlines()[-2:])


def words(workers: int) -> str:
    """Return a number of workers in words."""
    return "1 worker" if workers == 1 else f"{workers} workers"
