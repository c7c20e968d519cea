"""What goes wrong around a search: a full disk, a locked database, little memory, other data or weights."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from .strikes import Watch
from .study import Bench, Running
from .tally import Tally, studies

DISK = "12m"


def fill_disks(bench: Bench, times: int) -> Tally:
    """Fill the disk under a search: it ends in a line, and goes on when there is space again."""
    kind = "disk full"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    reference = bench.reference()
    while tally.times < times:
        case = bench.case("disk")
        case.storage = case.folder / "disk"
        case.storage.mkdir()
        with _small_disk(case.storage) as why_not:
            if why_not is not None:
                tally.skipped = why_not
                return tally
            watch = Watch(case, rng, bench.seconds[1])
            running = case.begin()
            while tally.times < times and (words := watch.moment(running)) is not None:
                leave = rng.choice((0, rng.randrange(300_000)))
                ballast = _fill(case.storage, leave)
                code = running.wait()
                case.left += running.orphans()
                ballast.unlink()
                tally.times += 1
                # A search that was nearly over may have had room enough.
                kept = code == 0 or (code == 1 and len(running.complaints) == 1)
                tally.promise(kept, f"ended with {code}: {running.said[-300:]}")
                bench.emit({"fault": kind, "number": tally.times, "at": words, "left": leave, "code": code})
                if code == 0:
                    break
                running = case.begin()
                watch.struck(running.begun)
            tally.end(bench, case, reference)
    return tally


def lock_databases(bench: Bench, seconds: tuple[float, ...]) -> Tally:
    """Hold the database's write lock for so long, as another program may: the search waits and goes on."""
    kind = "database locked by another program"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    reference = bench.reference()
    left = list(seconds)
    while left:
        case = bench.case("lock")
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        while left and watch.moment(running) is not None:
            if not case.rounds():
                continue
            held = left.pop(0)
            with contextlib.closing(sqlite3.connect(case.database, timeout=10)) as connection:
                connection.isolation_level = None
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(held)
                connection.execute("ROLLBACK")
            watch.struck(time.monotonic())
            tally.times += 1
            bench.emit({"fault": kind, "number": tally.times, "seconds": held})
        watch.look()
        code = running.wait()
        tally.promise(code == 0, f"the search ended with {code}: {running.said[-300:]}")
        tally.end(bench, case, reference)
    return tally


def limit_memory_at_start(bench: Bench, times: int) -> Tally:
    """Begin under a limit of memory: the search goes on within it, or ends in a line and goes on without."""
    kind = "memory limited from the start (ulimit -v)"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "ulimit"):
        code = 1
        while tally.times < times and code != 0:
            mib = rng.randrange(300, 4000)
            case.before = ("sh", "-c", f'ulimit -v {mib * 1024} && exec "$@"', "sh")
            running = case.begin()
            code = running.wait()
            case.left += running.orphans()
            tally.times += 1
            kept = code == 0 or (code == 1 and len(running.complaints) == 1)
            tally.promise(kept, f"{mib} MiB: ended with {code}: {running.said[-300:]}")
            bench.emit(
                {"fault": kind, "number": tally.times, "MiB": mib, "code": code, "said": _end(running)}
            )
        case.before = ()
    return tally


def starve_workers(bench: Bench, times: int) -> Tally:
    """Take away a training worker's memory: what it holds it keeps, and more it does not get."""
    kind = "worker out of memory"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "starved"):
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        starved: set[int] = set()
        while tally.times < times and (words := watch.moment(running)) is not None:
            living = [worker for worker in running.living() if worker.pid not in starved]
            if not living or not case.rounds():
                continue
            victim = living[0]
            with contextlib.suppress(psutil.Error, OSError):
                held = victim.memory_info().vms
                resource.prlimit(victim.pid, resource.RLIMIT_AS, (held, held))
                starved.add(victim.pid)
                tally.times += 1
                bench.emit({"fault": kind, "number": tally.times, "at": words, "MiB": held >> 20})
        tally.promise(running.wait() == 0, f"the search ended: {_end(running)}")
    return tally


def change_inputs(bench: Bench, times: int, what: str) -> Tally:
    """Change the data or the model between two runs: refused in a line, and right again when put back."""
    kind = f"{what} changed, then resumed"
    tally, rng = Tally(kind=kind), bench.rng(kind)
    for case in studies(bench, tally, times, "changed"):
        case.model = Path(shutil.copytree(bench.model, case.folder / "model"))
        case.data = Path(shutil.copy(bench.data, case.folder / "data.jsonl"))
        watch = Watch(case, rng, bench.seconds[1])
        running = case.begin()
        while tally.times < times and watch.moment(running) is not None:
            if not case.rounds():
                continue
            running.kill()
            case.left += running.orphans()
            rounds, path = case.rounds(), case.data
            if what == "a weight of the model":
                path = case.model / "model.safetensors"
            elif what == "a file beside the weights":
                path = case.model / rng.choice(("config.json", "tokenizer.json"))
            content = path.read_bytes()
            path.write_bytes(_changed(content, path, rng))
            refused = case.begin()
            code = refused.wait()
            case.left += refused.orphans()
            tally.times += 1
            kept = code == 1 and len(refused.complaints) == 1 and case.rounds() == rounds
            tally.promise(kept, f"{path.name} changed: ended with {code}: {_end(refused)}")
            bench.emit({"fault": kind, "number": tally.times, "code": code, "said": _end(refused)})
            path.write_bytes(content)
            running = case.begin()
            watch.struck(running.begun)
    return tally


def _changed(content: bytes, path: Path, rng: random.Random) -> bytes:
    """Return the file with one thing otherwise: a weight by a little, a letter, a setting."""
    if path.suffix == ".safetensors":
        start = 8 + int.from_bytes(content[:8], "little")
        at = start + 4 * rng.randrange((len(content) - start) // 4)
        # The lowest bits of a float32 but one: a change of about one part in a million.
        return content[:at] + bytes([content[at] ^ 0b1000]) + content[at + 1 :]
    if path.name == "config.json":
        return content.replace(b'"rms_norm_eps": 1e-06', b'"rms_norm_eps": 2e-06')
    if path.name == "tokenizer.json":
        # Two tokens change places.
        return content.replace(b'"er": 262', b'"er": 264').replace(b'"he": 264', b'"he": 262')
    lines = content.splitlines(keepends=True)
    if rng.random() < 0.5:
        return b"".join(lines[:-1])
    at = rng.randrange(len(lines))
    return b"".join([*lines[:at], lines[at].replace(b"a", b"o", 1).replace(b"e", b"a", 1), *lines[at + 1 :]])


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[str | None]:
    """Mount a small file system in memory; gives why that cannot be, or None."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        yield "only root may mount a small disk"
        return
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        yield f"a small disk cannot be mounted: {made.stderr.strip()}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> Path:
    """Fill a disk but for so many bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while (free := shutil.disk_usage(folder).free) > leave:
            file.write(bytes(min(free - leave, 1 << 20)))
            file.flush()
    return ballast


def _end(running: Running) -> str:
    return " / ".join(running.complaints or running.said.strip().splitlines()[-1:])
