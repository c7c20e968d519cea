"""How far a study was, beside its files: so that a database that is older than they are is noticed.

That is what is left where the log of a SQLite database (``tune.db-wal``) was lost, or an old copy was put in
its place. Written after every recorded round, so the database is never behind it of itself. Pure but for
one small file.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ..atomic import write_atomically
from ..nouns import numbered
from . import database_errors

FILE = "progress.json"
"""Its name in a study's folder."""

_STORED = {"trials": "trials", "rounds": "quanta", "ended": "ended"}
"""What each field is called in the file: rounds by the name of before, which older files have as well."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a study is; none of these ever falls."""

    trials: int
    """Trials begun."""
    rounds: int
    """Rounds recorded, of all trials."""
    ended: int
    """Trials that have ended."""

    def lacks(self, other: Progress) -> bool:
        """Return whether another one is ahead of this in anything."""
        return other.trials > self.trials or other.rounds > self.rounds or other.ended > self.ended

    def after(self, *, trials: int = 0, rounds: int = 0, ended: int = 0) -> Progress:
        """Return how far it is when so many more are begun, recorded and ended."""
        return Progress(trials=self.trials + trials, rounds=self.rounds + rounds, ended=self.ended + ended)

    @property
    def words(self) -> str:
        """It in words."""
        rounds = "round" if self.rounds == 1 else "rounds"
        return f"{numbered(self.trials, 'trial')}, {self.ended} ended, {self.rounds} {rounds}"


def read(folder: Path) -> Progress | None:
    """Return what was noted in a study's folder; None where nothing that can be read was."""
    try:
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Progress(**{name: int(values[stored]) for name, stored in _STORED.items()})
    except (OSError, ValueError, KeyError, TypeError):
        # It is a safeguard alone: a study from before has none, and a power cut may tear one.
        return None


def write(folder: Path, progress: Progress) -> None:
    """Note how far a study is. Not synced: after a power cut an older one may be there, which is harmless."""
    file = folder / FILE
    with database_errors.translated_files(file):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps({stored: getattr(progress, name) for name, stored in _STORED.items()}).encode()
        write_atomically(file, [content], synced=False)
