"""The log of a study's runs: a file of dated lines beside its database."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TextIO

from ..study.events import Event, StudyEnded, StudyProgress, StudyStarted
from ..study.format import counted
from ..study.sentences import sentence
from .encoding import visible
from .pace import Pace
from .standing import standing


class SearchLog:
    """An observer that appends a line to a file.

    ``progress`` says whether the file is also told, now and then, where the search stands.
    """

    def __init__(self, path: Path, *, progress: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = path.open("a", encoding="utf-8", errors="backslashreplace")
        self._pace = Pace()
        self._progress = progress

    def on_event(self, event: Event) -> None:
        """Append what happened."""
        match event:
            case StudyStarted():
                self._write(f"study {event.study}: {counted(event.trials, 'trial')}")
            case StudyProgress():
                if self._progress and self._pace.due():
                    self._write(standing(event))
            case StudyEnded():
                self._write(f"{event.why} after {event.seconds:.1f} s")
            case _:
                if (words := sentence(event)) is not None:
                    self._write(words)

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, text: str) -> None:
        moment = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        # A log that cannot be written, on a full disk say, must not end a search that still can.
        with contextlib.suppress(OSError):
            self._file.write(f"{moment} {visible(text)}\n")
            self._file.flush()
