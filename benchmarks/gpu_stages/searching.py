"""The command as a process, and what it left in its database."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

from loratune.errors import LoratuneError
from loratune.storage.store import Store
from loratune.study.budget import ROUNDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A study as its database has it."""

    states: dict[int, str]
    """Of every trial."""
    rounds: int
    """On record, of all trials."""
    final: dict[int, tuple[float, ...]]
    """``[examples]`` the final losses of each complete trial."""
    slots: int
    """What the first worker settled on."""
    events: tuple[str, ...]
    """Kinds of events, in their order."""


class Search:
    """``tune`` in a folder of its own, in the process group of the stage."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "said.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "loratune", *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait()

    def kill(self) -> None:
        """End it as ``kill -9`` does; its workers end with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_for(self, rounds: int) -> int:
        """Wait until so many rounds are on record, or it has ended; return how many there are."""
        while True:
            ended = self.process.poll() is not None
            try:
                there = self.record().rounds
            except LoratuneError:  # no database yet, or no study in it
                there = 0
            if there >= rounds or ended:
                return there
            time.sleep(0.05)

    def record(self) -> Record:
        """Read the database; raises ``LoratuneError`` where there is no study yet."""
        with Store.open(str(self.folder / "tune.db"), mode="read") as store:
            study = store.study(None)
            trials = store.trials(study.id)
            final = store.evaluations(study.id, ROUNDS)
            return Record(
                states={trial.number: trial.state for trial in trials},
                rounds=len(store.curve(study.id)),
                final={number: tuple(own.losses.tolist()) for number, own in final.items()},
                slots=study.facts.slots,
                events=tuple(event.kind for event in store.events(study.id)),
            )

    def last_line(self) -> str:
        """Return the last thing that it said."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"
