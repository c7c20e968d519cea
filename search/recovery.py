"""Carries out what ``recovery_steps.py`` decides: records it, tells it, lets trials go on where they can."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import OutOfMemory, StorageError, WorkerError
from ..objectives.base import SlotFailed, WorkerFailed
from ..study.events import SlotsLimited, TrialSetBack, WorkerLost, WorkerNotStarted
from .limits import Limits
from .outcomes import Verdict
from .progress import Announcer
from .recovery_steps import (
    Action,
    Died,
    EndSearch,
    EndTrial,
    Failure,
    GiveUp,
    Health,
    LimitSlots,
    NotStarted,
    SetBack,
    StateLost,
    TryAgain,
    recover,
)
from .study_state import StudyState
from .worker_state import WorkerState

LEAST_FREE_BYTES = 2**20
"""With fewer bytes free no trial is to blame for the death of its worker."""


class Recovery:
    """Keeps account of what went wrong."""

    def __init__(
        self,
        state: StudyState,
        announcer: Announcer,
        limits: Limits,
        *,
        interrupted: Iterable[int],
        cards: Sequence[WorkerState] = (),
    ) -> None:
        self._cards = cards
        """Workers on GPUs, of which each finds out by itself what memory it gets; those of a CPU share it."""
        self._interrupted = set(interrupted)
        """Trials whose last attempt did not end by itself: a dead worker may still write their files."""
        self._from_scratch: set[int] = set()
        """Trials that were last begun without a checkpoint."""
        self._killers = 0
        self._state = state
        self._announcer = announcer
        self._limits = limits

    def begin_pass(self, worker: WorkerState, pack: tuple[int, ...]) -> None:
        """Let interrupted trials of a pack begin a new attempt, and note who begins without a checkpoint."""
        for number in pack:
            if number in self._interrupted:
                self._state.begin_attempt(number)
                self._interrupted.discard(number)
            if number in worker.inside:
                continue
            if self._state.checkpoint(number) is None:
                self._from_scratch.add(number)
            else:
                self._from_scratch.discard(number)

    def pass_ended(self, worker: WorkerState, trials: int) -> None:
        """Clear the trials, so many, that lived through a pass."""
        self._killers = 0
        worker.end_pass(trials)

    def slot_failed(self, worker: WorkerState, event: SlotFailed) -> None:
        """Let a trial that could not be taken up go on from an older state; one that had none fails."""
        worker.lose_slot(event.trial)
        from_scratch = event.trial in self._from_scratch
        self._recover(worker, StateLost(trial=event.trial, reason=event.reason, from_scratch=from_scratch))

    def worker_lost(self, worker: WorkerState, event: WorkerFailed) -> None:
        """Narrow down why a worker died; its place is empty afterwards.

        Raises ``StorageError`` where files cannot be written, ``WorkerError`` where every trial kills its
        worker.
        """
        pack = worker.lose_worker()
        self._interrupted.update(pack)
        if event.storage:
            raise StorageError(event.reason)
        folder = self._state.store.artifacts
        if _free_bytes(folder) < LEAST_FREE_BYTES:
            raise StorageError(f"no space left on the disk of {folder}; free some and tune resume")
        self._note(worker, event.reason, pack)
        self._announcer.tell(WorkerLost(worker=worker.index, trials=pack, reason=event.reason))
        self._recover(
            worker,
            Died(pack=pack, reason=event.reason, out_of_memory=event.out_of_memory, killed=event.killed),
        )

    def start_failed(self, worker: WorkerState, error: WorkerError) -> None:
        """Leave a worker that did not come up to be started again, or give it up."""
        worker.close()
        out_of_memory = isinstance(error, OutOfMemory)
        self._recover(
            worker,
            NotStarted(
                reason=str(error), out_of_memory=out_of_memory, killed=error.killed, final=error.final
            ),
        )

    def _recover(self, worker: WorkerState, failure: Failure) -> None:
        health = Health(passes=worker.passes, failed_starts=worker.failed_starts, killers=self._killers)
        after, actions = recover(health, failure, self._limits)
        self._killers = after.killers
        worker.go_on(after.passes, failed_starts=after.failed_starts)
        for action in actions:
            self._do(worker, action)

    def _do(self, worker: WorkerState, action: Action) -> None:
        match action:
            case LimitSlots(slots=slots, reason=reason):
                # What one card lacks, the others may have: the study's limit is what the best of them takes.
                worker.halve_pass()
                cards = [one for one in self._cards if not one.given_up] or [worker]
                most = max(one.passes.slots for one in cards)
                if not self._cards or most < self._state.slots:
                    tokens = max(one.pass_tokens for one in cards)
                    self._state.limit_slots(most, tokens, worker=worker.index, reason=reason)
                self._announcer.tell(SlotsLimited(worker=worker.index, slots=slots, reason=reason))
            case EndTrial(trial=trial, state=state, reason=reason):
                verdict = Verdict(trial=trial, state=state, reason=reason, value=None)
                self._state.record((), (verdict,))
                self._interrupted.discard(trial)
                worker.leave(trial)
                self._announcer.tell(verdict.event)
            case SetBack(trial=trial, reason=reason):
                kept = self._state.start_over(trial, reason)
                recorded = self._state.trials[trial].rounds
                self._interrupted.add(trial)
                self._announcer.tell(TrialSetBack(trial=trial, recorded=recorded, kept=kept, reason=reason))
            case TryAgain(reason=reason):
                self._tell_not_started(worker, reason)
            case GiveUp(reason=reason):
                worker.give_up()
                self._note(worker, reason, ())
                self._tell_not_started(worker, reason)
            case EndSearch(reason=reason):
                raise WorkerError(reason)

    def _tell_not_started(self, worker: WorkerState, reason: str) -> None:
        self._announcer.tell(
            WorkerNotStarted(
                worker=worker.index, starts=worker.failed_starts, given_up=worker.given_up, reason=reason
            )
        )

    def _note(self, worker: WorkerState, reason: str, trials: tuple[int, ...]) -> None:
        store, study = self._state.store, self._state.study.id
        store.add_event(study, "worker", worker=worker.index, reason=reason, trials=list(trials))


def _free_bytes(folder: Path) -> int:
    """Return what is free on a folder's disk; raises ``StorageError`` where the folder is gone."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise StorageError(f"{folder}: cannot be used any more ({error.strerror}); restore it") from error
