"""A tiny study that is struck: its commands run as processes of their own, as a user's would.

Knows how to begin, resume and look at it; what strikes it, and when, is said elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from loratune.demo import data_path, model_path

from . import record
from .record import Comparison, Record

NAME = "struck"
PATIENCE = 600.0
"""Seconds after which a process is lost, on a machine busy with other things."""
CHOICES = ("--examples=64", "--eval-examples=16", "--set=batch_size=4,8", "--set=lora_rank=2,4")
"""Rounds of a few hundredths of a second: a moment at random often falls into the writing of one."""
ATTEMPTS = 10
"""How often a study is resumed at most until it ends."""

Emit = Callable[[dict[str, Any]], None]


def environment() -> dict[str, str]:
    """Return this process's environment without anything that changes what the command does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNE_", "HF_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "TOKENIZERS_PARALLELISM": "false"}


class Running:
    """A command that runs, its output in a file."""

    def __init__(self, words: Sequence[str], folder: Path, before: Sequence[str] = ()) -> None:
        self.said_in = folder / f"said-{time.monotonic_ns()}.txt"
        self.begun = time.monotonic()
        self.workers: set[psutil.Process] = set()
        """Every worker that was seen."""
        with self.said_in.open("wb") as said:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "loratune", *words],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self.said_in.read_text(encoding="utf-8", errors="replace")

    @property
    def complaints(self) -> list[str]:
        """The lines that say why it ended."""
        return [line for line in self.said.splitlines() if line.startswith("tune: ")]

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def living(self) -> list[psutil.Process]:
        """Return its workers, the oldest first."""
        found: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any("loratune worker" in word for word in child.cmdline()):
                        found.append(child)
        self.workers.update(found)
        return found

    def wait(self, seconds: float = PATIENCE) -> int:
        """Return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"a command did not end within {seconds:.0f} s:\n{self.said}") from None

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.living()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def orphans(self, seconds: float = 10.0) -> int:
        """Return how many of its workers still run, so long after its end; and end them."""
        _, alive = psutil.wait_procs(self.workers, timeout=seconds)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return len(alive)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """How large the studies are."""

    trials: int
    """Trials of one."""
    workers: int
    """Worker processes of one."""


class Case:
    """One study in a folder of its own."""

    def __init__(self, folder: Path, size: Size, *, model: Path, data: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.size = size
        self.model, self.data = model, data
        self.storage = folder
        """Folder of the database."""
        self.before: tuple[str, ...] = ()
        """What the command is begun by, such as another program."""
        self.begun: list[Running] = []
        self.resumes: list[float] = []
        """Seconds from each command, or from a worker's death, to the next round on record."""
        self.left = 0
        """Processes that outlived their search."""

    @property
    def database(self) -> Path:
        """The database of the study."""
        return self.storage / "tune.db"

    @property
    def artifacts(self) -> Path:
        """Checkpoints, adapters, cache and logs."""
        return self.storage / "tune-artifacts"

    @property
    def checkpoints(self) -> Path:
        """The folder of training states."""
        return self.artifacts / "1" / "checkpoints"

    def begin(self, *more: str) -> Running:
        """Begin the study, or go on with it."""
        words = [f"--workers={self.size.workers}", "--deterministic", f"--storage={self.database}", *more]
        if self.rounds() is None:
            made = [f"--model={self.model}", f"--data={self.data}", "--space=tiny", f"--study={NAME}"]
            words = ["search", f"--trials={self.size.trials}", *made, *CHOICES, *words]
        else:
            words = ["resume", NAME, *words]
        return self.run(*words)

    def run(self, *words: str) -> Running:
        """Begin any command."""
        self.begun.append(Running(words, self.folder, self.before))
        return self.begun[-1]

    def rounds(self) -> int | None:
        """Return how many rounds are on record; None while there is no study."""
        with contextlib.suppress(sqlite3.Error):
            uri = f"file:{self.database}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
                if connection.execute("SELECT count(*) FROM tune_studies").fetchone()[0]:
                    return int(connection.execute("SELECT count(*) FROM tune_curve").fetchone()[0])
        return None

    def files(self) -> frozenset[str]:
        """Return the training states on disk, half-written ones included."""
        with contextlib.suppress(OSError):
            return frozenset(path.name for path in self.checkpoints.iterdir())
        return frozenset()

    def wait_until(self, running: Running, condition: Callable[[], object], pause: float = 0.01) -> bool:
        """Return whether something became so before a command ended."""
        while not condition():
            if running.over:
                return False
            if time.monotonic() - running.begun > PATIENCE:
                raise TimeoutError(f"nothing happened for {PATIENCE:.0f} s:\n{running.said}")
            time.sleep(pause)
        return True

    def finish(self, running: Running | None = None) -> Running:
        """Resume until the study ends and return the last command."""
        running = running or self.begin()
        for _ in range(ATTEMPTS):
            self.note_resume(running)
            code = running.wait()
            self.left += running.orphans()
            if code == 0:
                return running
            running = self.begin()
        raise RuntimeError(f"the study does not end; the last command said:\n{running.said}")

    def note_resume(self, running: Running, since: float | None = None) -> None:
        """Wait until a command has put a round on record, and note how long that took."""
        before = self.rounds() or 0
        if self.wait_until(running, lambda: (self.rounds() or 0) > before, 0.02):
            self.resumes.append(time.monotonic() - (running.begun if since is None else since))

    def outcome(self, reference: Record) -> Comparison:
        """Compare the study with one that was left in peace."""
        found = record.compare(reference, record.read(self.database, NAME))
        words = found.words + ((f"{self.left} processes outlived their search",) if self.left else ())
        return dataclasses.replace(found, running=found.running + self.left, words=words)

    def tracebacks(self) -> int:
        """Return how many tracebacks stand in any output or log."""
        logs = (self.artifacts / "logs").glob("*") if self.artifacts.is_dir() else ()
        texts = [*(one.said_in for one in self.begun), *logs]
        return sum(path.read_bytes().count(b"Traceback (most recent call last)") for path in texts)

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Bench:
    """Where studies are made and struck, and what they are compared with."""

    def __init__(self, folder: Path, *, trials: int, seed: int, emit: Emit, keep: bool = False) -> None:
        self.folder = folder
        self.trials = trials
        self.seed = seed
        self.emit = emit
        self.keep = keep
        self.model = Path(shutil.copytree(model_path(), folder / "model"))
        self.data = Path(shutil.copy(data_path(), folder / "data.jsonl"))
        self.seconds: dict[int, float] = {}
        """How long a study takes in peace, by workers."""
        self._references: dict[int, Record] = {}
        self._cases = 0

    def rng(self, kind: str) -> random.Random:
        """Return the source of chance of one kind of fault."""
        return random.Random(f"{self.seed} {kind}")

    def case(self, kind: str, workers: int = 1) -> Case:
        """Return a new study, not begun."""
        self._cases += 1
        size = Size(trials=self.trials, workers=workers)
        return Case(self.folder / f"{self._cases:03d}-{kind}", size, model=self.model, data=self.data)

    def reference(self, workers: int = 1) -> Record:
        """Return the record of a study that was left in peace; made once."""
        if workers not in self._references:
            case = self.case("reference", workers)
            case.finish()
            self.seconds[workers] = time.monotonic() - case.begun[0].begun
            self._references[workers] = record.read(case.database, NAME)
        return self._references[workers]

    def clear(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
