"""What follows when a worker dies, hangs, does not start, or cannot take a trial up.

Its trials go on from their last checkpoints; one that keeps killing workers fails alone.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from ..errors import OutOfMemory, StorageError, WorkerError
from ..objectives.base import SlotFailed, WorkerFailed
from ..study.events import SlotsLimited, TrialSetBack, WorkerLost, WorkerNotStarted
from ..study.records import State
from .bisect import Suspicion
from .outcomes import Verdict
from .passes import after_leaving, after_pass, after_prepare_ran_out, after_worker_died
from .progress import Announcer
from .study_state import Ledger
from .worker_state import Limits, Seat

LEAST_FREE_BYTES = 2**20
"""With fewer bytes free no trial is to blame for the death of its worker."""


class Rescue:
    """Keeps account of what went wrong, and says who goes on where."""

    def __init__(self, ledger: Ledger, announcer: Announcer, limits: Limits) -> None:
        self.torn: set[int] = set()
        """Trials whose last attempt did not end by itself: a dead worker may still write their files."""
        self.afresh: set[int] = set()
        """Trials that were last begun without a checkpoint."""
        self._ledger = ledger
        self._announcer = announcer
        self._limits = limits
        self._failed_in_row = 0

    def pass_ended(self, seat: Seat, pack: int) -> None:
        """Clear the trials, so many, that lived through a pass."""
        self._failed_in_row = 0
        seat.passes = after_pass(seat.passes, pack)

    def slot_failed(self, seat: Seat, event: SlotFailed) -> None:
        """Let a trial that could not be taken up go on from an older state; one that had none fails."""
        number = event.trial
        seat.inside.remove(number)
        if number in self.afresh:
            self._finish(seat, number, "failed", event.reason)
            return
        after = self._ledger.start_over(number, event.reason)
        done = self._ledger.trials[number].quanta
        self.torn.add(number)
        self._announcer.tell(TrialSetBack(trial=number, recorded=done, kept=after, reason=event.reason))

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
        self._announcer.tell(WorkerLost(worker=seat.index, trials=pack, reason=event.reason))
        if pack:
            self._respond(seat, pack, event)

    def start_failed(self, seat: Seat, error: WorkerError) -> bool:
        """Return whether to start a worker again; else it is given up and its trials wait for another."""
        seat.close()
        if isinstance(error, OutOfMemory) and seat.passes.slots > 1:
            seat.passes = after_prepare_ran_out(seat.passes, seat.passes.slots)
            self._limit(seat, str(error))
            return True
        seat.failed_starts += 1
        patience = self._limits.killed_starts if error.killed else self._limits.starts
        if seat.failed_starts < patience and not isinstance(error, OutOfMemory):
            self._tell_not_started(seat, error)
            return True
        seat.given_up = True
        seat.members.clear()
        seat.passes = dataclasses.replace(seat.passes, suspicion=Suspicion(), halved=())
        self._note("worker", worker=seat.index, reason=str(error), trials=[])
        self._tell_not_started(seat, error)
        return False

    def _respond(self, seat: Seat, pack: tuple[int, ...], event: WorkerFailed) -> None:
        """Do what follows from a death; the trial that is to blame, if it is clear which, fails alone."""
        response = after_worker_died(
            seat.passes, pack, out_of_memory=event.out_of_memory, killed=event.killed
        )
        seat.passes = response.passes
        if response.slots is not None:
            self._limit(seat, event.reason)
        if response.blamed is None:
            return
        if response.state == "infeasible":
            reason = f"does not fit into memory, even alone: {event.reason}"
            self._finish(seat, response.blamed, "infeasible", reason)
            return
        self._failed_in_row += 1
        if self._failed_in_row >= self._limits.failures:
            raise WorkerError(
                f"{self._failed_in_row} trials in a row killed their workers, the last so: {event.reason}; "
                "mend the cause, then tune resume goes on"
            )
        self._finish(seat, response.blamed, "failed", f"kills its worker: {event.reason}")

    def _limit(self, seat: Seat, reason: str) -> None:
        """Keep with the study that memory takes no more than a worker's slots at once."""
        self._ledger.limit_slots(seat.passes.slots, worker=seat.index, reason=reason)
        self._announcer.tell(SlotsLimited(worker=seat.index, slots=seat.passes.slots, reason=reason))

    def _tell_not_started(self, seat: Seat, error: WorkerError) -> None:
        self._announcer.tell(
            WorkerNotStarted(
                worker=seat.index, starts=seat.failed_starts, given_up=seat.given_up, reason=str(error)
            )
        )

    def _finish(self, seat: Seat, number: int, state: State, reason: str) -> None:
        """End a trial that has no result."""
        verdict = Verdict(trial=number, state=state, reason=reason, value=None)
        self._ledger.record((), (verdict,))
        self.torn.discard(number)
        seat.leave(number)
        seat.passes = after_leaving(seat.passes, number)
        self._announcer.tell(verdict.event)

    def _note(self, kind: str, **detail: object) -> None:
        self._ledger.store.add_event(self._ledger.study.id, kind, **detail)


def _free_bytes(folder: Path) -> int:
    """Return what is free on a folder's disk; raises ``StorageError`` where the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(f"{folder}: cannot be used any more ({error.strerror}); restore it") from error
