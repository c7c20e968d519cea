"""Files of a study's trials while it runs: which state each goes on from, and when one is deleted.

Knows names and files, no database: what is recorded is recorded elsewhere, before anything is deleted here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ..errors import DamagedFile
from ..storage import database_errors, study_files
from ..study.records import RoundUpdate, TrialRecord
from ..study.stage import Entry


class TrialFiles:
    """A trial's last state, the one before it, and what it goes on from where the last one is lost."""

    def __init__(self, folder: Path, trials: Iterable[TrialRecord]) -> None:
        self._folder = folder
        self._before: dict[int, str] = study_files.previous(study_files.listing(folder), trials)
        """The state before a trial's last one, kept for where that is lost."""
        self._set_back: dict[int, str | None] = {}
        """What trials go on from whose recorded state is lost; None: from their beginning."""

    def checkpoint(self, trial: TrialRecord) -> Path | None:
        """Return the training state that a trial goes on from; None: from its beginning."""
        if trial.number in self._set_back:
            # Its files are older than what the record says of it, so a sweep may have taken them.
            name = self._set_back[trial.number]
            return self._folder / name if name is not None and (self._folder / name).exists() else None
        return None if trial.checkpoint is None else self._folder / trial.checkpoint

    def rounds_of_older(self, number: int) -> int:
        """Return how many rounds the state has that a trial would be set back to; 0: its beginning."""
        older = self._older(number)
        return 0 if older is None else study_files.round_of(older)

    def set_back(self, number: int, to: str | None = None) -> None:
        """Let a trial go on from a state, by default the one before its last, or else from its beginning."""
        self._set_back[number] = self._older(number) if to is None else to

    def repeated(self, number: int, checkpoint: str | None) -> None:
        """Take the state of a round that the record already has; the one it came from may go."""
        old = self._set_back.get(number)
        self._set_back[number] = checkpoint
        if old != self._before.get(number):
            self._delete(old)

    def advanced(self, number: int, last: str | None) -> None:
        """Keep a trial's last state beside the one that has just been recorded, instead of an older one."""
        if number in self._set_back:  # what the row named was lost, this is as good
            self._delete(last)
            last = self._set_back.pop(number)
        self._keep_before(number, last)

    def waits(self, number: int) -> None:
        """Keep a trial's last state alone while it waits: there may be many, and it can be trained again."""
        self._keep_before(number, None)

    def ended(self, number: int, last: str | None) -> None:
        """Delete every state of a trial that has ended."""
        self._delete(last)
        self._keep_before(number, None)
        if number in self._set_back:
            self._delete(self._set_back.pop(number))

    def write_adapter(self, number: int, checkpoint: str) -> str | None:
        """Write the adapter of a state and return its name; None where the state turns out to be damaged."""
        name = study_files.adapter_name(number)
        # Damaged within the moments since it was written: export trains the trial again.
        with contextlib.suppress(DamagedFile):
            study_files.write_adapter(self._folder / checkpoint, self._folder / name)
            return name
        return None

    def hold(self, updates: Iterable[RoundUpdate]) -> None:
        """Keep a copy of the states that these updates name, for longer trials to go on from."""
        for update in updates:
            if update.checkpoint is not None:
                study_files.copy_state(self._folder / update.checkpoint, self._held(update.trial))

    def take_over(self, parent: Path, entry: Entry, number: int) -> str | None:
        """Copy the state of a parent's trial as a trial of ours and name it; None where it is lost.

        What ours is trained with from there on may differ in what a state does not depend on: the rate.
        """
        source = parent / study_files.held_name(entry.trial)
        name = study_files.checkpoint_file(number, entry.start, 0)
        try:
            study_files.copy_state(source, self._folder / name, trial=number, params=entry.params)
        except DamagedFile:
            return None
        return name

    def take_over_again(self, parent: Path, entry: Entry, number: int) -> str | None:
        """Do so for a trial whose own states are lost; None where it was set back to that state already."""
        if self._set_back.get(number) == study_files.checkpoint_file(number, entry.start, 0):
            return None
        return self.take_over(parent, entry, number)

    def _held(self, number: int) -> Path:
        return self._folder / study_files.held_name(number)

    def _older(self, number: int) -> str | None:
        return None if number in self._set_back else self._before.get(number)

    def _keep_before(self, number: int, name: str | None) -> None:
        old = self._before.pop(number, None)
        if old != name:
            self._delete(old)
        if name is not None:
            self._before[number] = name

    def _delete(self, name: str | None) -> None:
        if name is not None:
            with database_errors.translated_files(self._folder / name):
                (self._folder / name).unlink(missing_ok=True)
