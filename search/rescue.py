"""What follows when a worker dies, hangs, does not start, or cannot take a trial up.

Its trials go on from their last checkpoints; one that keeps killing workers fails alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..objectives.base import SlotFailed, WorkerFailed
from ..spaces.errors import StorageError, WorkerError
from ..storage.records import State
from .isolate import Suspicion, after_death, after_quantum, without
from .ledger import Ledger
from .seat import Limits, Seat
from .verdict import Verdict
from .view import View

LEAST_FREE_BYTES = 2**20
"""With fewer bytes free no trial is to blame for the death of its worker."""


class Rescue:
    """Keeps account of what went wrong, and says who goes on where."""

    def __init__(self, ledger: Ledger, view: View, limits: Limits) -> None:
        self.torn: set[int] = set()
        """Trials whose last attempt did not end by itself: a dead worker may still write their files."""
        self.afresh: set[int] = set()
        """Trials that were last begun without a checkpoint."""
        self._ledger = ledger
        self._view = view
        self._limits = limits
        self._failed_in_row = 0

    def quantum_ended(self, seat: Seat) -> None:
        """Clear the trials that ended a quantum alive."""
        self._failed_in_row = 0
        if not seat.suspicion.groups:
            return
        seat.suspicion = after_quantum(seat.suspicion)
        if seat.suspicion.groups:
            return
        if seat.suspects and seat.slots is not None and seat.slots > 1:
            # Each half lives and the whole dies: it is their number, as where memory runs out unsaid.
            self._shrink(seat, max(1, len(seat.suspects) // 2))
        seat.suspects = ()

    def slot_failed(self, seat: Seat, event: SlotFailed) -> None:
        """Let a trial that could not be taken up begin anew; one that had no checkpoint fails."""
        number = event.trial
        seat.inside.remove(number)
        if number in self.afresh:
            self._finish(seat, number, "failed", event.reason)
            return
        self._ledger.start_over(number, event.reason)
        self.torn.add(number)
        self._view.say(f"trial {number} starts over: {event.reason}")

    def worker_lost(self, seat: Seat, event: WorkerFailed) -> None:
        """Narrow down why a worker died; its place is empty afterwards.

        Raises ``StorageError`` where files cannot be written, ``WorkerError`` where every trial kills its
        worker.
        """
        pack = seat.lose_worker()
        self.torn.update(pack)
        if event.storage:
            raise StorageError(event.reason)
        folder = self._ledger.store.artifacts
        if _free_bytes(folder) < LEAST_FREE_BYTES:
            raise StorageError(f"no space left on the disk of {folder}; free some and tune resume")
        self._note("worker", worker=seat.index, reason=event.reason, trials=list(pack))
        self._view.say(f"{event.reason}; its {len(pack)} trials go on from their last checkpoints")
        if pack and event.out_of_memory:
            self._out_of_memory(seat, pack, event.reason)
        elif pack:
            self._suspect(seat, pack, event.reason)

    def start_failed(self, seat: Seat, error: WorkerError) -> bool:
        """Return whether to start a worker again; else it is given up and its trials wait for another."""
        seat.close()
        seat.failed_starts += 1
        if seat.failed_starts < self._limits.starts:
            self._view.say(f"{error}; starting it again")
            return True
        seat.given_up = True
        seat.members.clear()
        seat.suspicion, seat.suspects = Suspicion(), ()
        self._note("worker", worker=seat.index, reason=str(error), trials=[])
        self._view.say(f"worker {seat.index} is given up after {seat.failed_starts} starts: {error}")
        return False

    def _out_of_memory(self, seat: Seat, pack: tuple[int, ...], reason: str) -> None:
        """Halve a worker's slots; a trial that does not even fit alone is infeasible."""
        seat.suspicion, seat.suspects = Suspicion(), ()
        if len(pack) == 1:
            self._finish(seat, pack[0], "infeasible", f"does not fit into memory, even alone: {reason}")
            return
        self._shrink(seat, len(pack) // 2)

    def _shrink(self, seat: Seat, slots: int) -> None:
        """Lower K of a worker; the trials that no longer fit wait for a place."""
        seat.slots = slots
        for number in sorted(seat.members)[slots:]:
            seat.leave(number)
        self._note("slots", worker=seat.index, slots=slots)
        self._view.say(f"worker {seat.index} now trains {slots} trials at once")

    def _suspect(self, seat: Seat, pack: tuple[int, ...], reason: str) -> None:
        """Narrow down which trial kills its worker; the one to blame fails alone."""
        seat.suspicion, culprit = after_death(seat.suspicion, pack)
        if culprit is None:
            halved = seat.suspicion.groups[0] != pack
            seat.suspects = seat.suspects or (pack if halved else ())
            return
        seat.suspects = ()
        self._failed_in_row += 1
        if self._failed_in_row >= self._limits.failures:
            raise WorkerError(
                f"{self._failed_in_row} trials in a row killed their workers, the last so: {reason}; "
                "mend the cause, then tune resume goes on"
            )
        self._finish(seat, culprit, "failed", f"kills its worker: {reason}")

    def _finish(self, seat: Seat, number: int, state: State, reason: str) -> None:
        """End a trial that has no result."""
        verdict = Verdict(trial=number, state=state, reason=reason, value=None)
        self._ledger.record((), (verdict,))
        self.torn.discard(number)
        seat.leave(number)
        seat.suspicion = without(seat.suspicion, number)
        self._view.say_ended(verdict)

    def _note(self, kind: str, **detail: object) -> None:
        self._ledger.store.add_event(self._ledger.study.id, kind, **detail)


def _free_bytes(folder: Path) -> int:
    """Return what is free on a folder's disk; raises ``StorageError`` where the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(f"{folder}: cannot be used any more ({error.strerror}); restore it") from error
