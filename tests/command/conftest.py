"""The command as a process of its own, as a user runs it, and one finished study for all that only read."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loratune.cli import main

SMALL = (
    "--examples=64",
    "--eval-examples=16",
    "--set=batch_size=4,8",
    "--set=lora_rank=2,4",
    "--workers=1",
)
"""A study of the embedded demo whose trials take a fraction of a second."""

PATIENCE = 240.0
"""Seconds after which a process is lost, on a machine busy with other things."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended."""

    code: int
    """Its exit code."""
    out: str
    """What it printed on stdout."""
    err: str
    """What it printed on stderr."""

    @property
    def complaint(self) -> str:
        """The one line on stderr, which begins with ``tune:``; no traceback is on either stream."""
        assert "Traceback" not in self.out + self.err, self.out + self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("tune: "), self.err
        assert ") (" not in lines[0], f"two remarks in brackets, one after the other: {self.err}"
        return lines[0]

    @property
    def json(self) -> Any:
        """What it printed with ``--json``."""
        return json.loads(self.out)


def environment() -> dict[str, str]:
    """Return this process's environment without anything that changes what the command does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TUNE_", "HF_"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "TOKENIZERS_PARALLELISM": "false"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "loratune", *words]


def run(*words: str, cwd: Path) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        command(*words),
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    return Ended(code=done.returncode, out=done.stdout, err=done.stderr)


class Running:
    """A command that runs beside the test; made by the fixture ``begin``."""

    def __init__(self, words: tuple[str, ...], cwd: Path) -> None:
        self._said = cwd / f"said-{time.monotonic_ns()}"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                command(*words),
                cwd=cwd,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        """What it has printed so far, on both streams."""
        return self._said.read_text(encoding="utf-8", errors="replace")

    def children(self) -> set[int]:
        """Return the ids of its workers."""
        return {pid for pid, (parent, _) in processes().items() if parent == self.pid}

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something is so; fail where the process ends before, or never gets there."""
        wait_until(lambda: condition() or self.process.poll() is not None, what, lambda: self.said)
        assert condition(), f"ended with {self.process.returncode} before {what}:\n{self.said}"

    def end(self, number: int | None = None) -> int:
        """Send a signal, if one is given, and return the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def wait_until(condition: Callable[[], object], what: str, said: Callable[[], str] = str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}\n{said()}"
        time.sleep(0.02)


def processes() -> dict[int, tuple[int, str]]:
    """Return parent and state of every process of this machine, by id; needs /proc."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            found[int(entry.name)] = int(parent), state
    return found


def alive(pids: set[int]) -> set[int]:
    """Return those of the processes that still run."""
    known = processes()
    return {pid for pid in pids if pid in known and known[pid][1] != "Z"}


@pytest.fixture
def tune(tmp_path: Path) -> Callable[..., Ended]:
    """Run the command in the test's folder: ``tune("list", "--json")``."""

    def call(*words: str, cwd: Path = tmp_path) -> Ended:
        return run(*words, cwd=cwd)

    return call


@pytest.fixture(scope="session")
def run_tune() -> Callable[..., Ended]:
    """Run the command in any folder: ``run_tune("list", cwd=folder)``."""
    return run


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Run a command that ends before it loads anything, in this process: the same code, and far quicker."""

    def call(*words: str, cwd: Path = tmp_path) -> Ended:
        monkeypatch.chdir(cwd)
        monkeypatch.delenv("TUNE_STORAGE", raising=False)
        monkeypatch.setattr(sys, "argv", ["tune", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Ended(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return call


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Begin a command beside the test; whatever still runs at the end is killed."""
    begun: list[Running] = []

    def call(*words: str, cwd: Path = tmp_path) -> Running:
        begun.append(Running(words, cwd))
        return begun[-1]

    yield call
    for one in begun:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Flags of a study of the embedded demo whose trials take a fraction of a second."""
    return SMALL


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished study ``done`` of 6 trials; to be read only."""
    folder = tmp_path_factory.mktemp("finished")
    ended = run("search", "--trials=6", "--study=done", "--keep-adapters=2", *SMALL, cwd=folder)
    assert ended.code == 0, ended.err
    return folder


@pytest.fixture(scope="session")
def is_alive() -> Callable[[set[int]], set[int]]:
    return alive


@pytest.fixture(scope="session")
def patiently() -> Callable[[Callable[[], object], str], None]:
    """Wait until something is so: ``patiently(lambda: ..., "what it is")``."""
    return wait_until


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, for a test that may spoil it."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    return folder
