"""The search itself: one coordinator that asks, decides and records while workers train.

At a boundary, in this order: the round and its endings are recorded (checkpoints are on disk already,
Optuna hears last), the trials that ended leave, new ones are proposed, the next round begins.

A boundary is the end of a round of the trials that are judged together. With one worker, or with
``deterministic``, those are all running trials; else each worker's are. They are judged when all of them
have ended the round, in however many passes and whoever died meanwhile. So with one worker or
``deterministic`` all that is decided follows from the record alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import StorageError
from ..objectives.base import Done, RoundProgress, SlotFailed, Worker, WorkerFailed
from ..storage import study_files
from ..storage.store import Store
from ..study.config import ObjectiveConfig
from ..study.events import Observer, StudyEnded, Why
from ..study.facts import Facts
from ..study.records import StudyRecord
from ..study.sentences import name_taken_in_optuna
from .boundary import Boundary
from .ending import SearchEnd
from .interrupt import StopSignal
from .limits import Limits
from .lock import LockPatience
from .placement import Placement
from .progress import Announcer
from .recovery import Recovery
from .starting import Starting
from .study_record import objective_of
from .study_state import StudyState
from .trial_source import TrialSource
from .worker_state import WorkerState


def run(
    store: Store,
    study: StudyRecord,
    *,
    factory: Callable[[int], Worker],
    count: int = 1,
    prepared: Sequence[tuple[Worker, Facts]] = (),
    objective: ObjectiveConfig | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    timeout: float | None = None,
    take_over: bool = False,
    deterministic: bool = False,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StudyEnded:
    """Run a study to its end, or until it is asked to stop; a study begun before goes on where it stood.

    Args:
        store: opened to write.
        study: as ``create`` or ``store.study`` returned it; its ``trials`` hold from now on.
        factory: makes the worker of an index, in the calling thread.
        count: how many workers.
        prepared: workers that are prepared already, of indices 0, 1 …; they are closed at the end.
        objective: what workers are prepared with; from ``objective_of``, by default without a cache.
        observers: who looks on.
        stop: how the search is asked to end.
        timeout: seconds after which it ends by itself, as if asked to.
        take_over: end another owner of the study first.
        deterministic: let workers wait for each other and judge all trials together, so that several repeat
            the sequence of trials too.
        limits: how patient it is.
        clock: where its time comes from.

    Raises:
        StudyBusy: another live process owns the study.
        StaleOwner: another process took the study over meanwhile.
        WorkerError: no worker can be started, or every trial kills its worker.
        LoratuneError: what a worker met when it was prepared; or the store cannot be written.
    """
    search: _Search | None = None
    try:
        store.acquire(study.id, take_over=take_over)
        if store.study(study.name).trials != study.trials:
            store.set_trials(study.id, study.trials)
        search = _Search(
            state=StudyState(store, study),
            factory=factory,
            count=count,
            prepared=prepared,
            objective=objective or objective_of(study),
            observers=observers,
            stop=stop or StopSignal(),
            timeout=timeout,
            deterministic=deterministic,
            limits=limits or Limits(),
            clock=clock,
        )
        store.wait_for_lock(search.lock.wait)
        return search.run()
    finally:
        if search is None or not search.lock.lasted:
            store.wait_for_lock(None)
        if search is not None:
            search.close()
        for worker, _ in prepared:
            worker.close()
        # A lease that cannot be given up binds nobody once this process has ended.
        with contextlib.suppress(StorageError):
            store.release(study.id)


class _Search:
    """One run of a study."""

    def __init__(
        self,
        *,
        state: StudyState,
        factory: Callable[[int], Worker],
        count: int,
        prepared: Sequence[tuple[Worker, Facts]],
        objective: ObjectiveConfig,
        observers: Sequence[Observer],
        stop: StopSignal,
        timeout: float | None,
        deterministic: bool,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._limits = limits
        self._stop = stop
        self._now = clock
        self._begun = clock()
        if objective.slots is not None and objective.slots != state.slots:
            state.limit_slots(objective.slots, state.pass_tokens, worker=None, reason="asked for")
        objective = dataclasses.replace(objective, pass_tokens=state.pass_tokens)
        self._workers = [
            WorkerState(index, factory, objective, limits, state.slots) for index in range(count)
        ]
        for one, (worker, facts) in zip(self._workers, prepared, strict=False):
            one.seat_worker(worker, facts)
        self._announcer = Announcer(state, self._workers, observers, clock)
        cards = self._workers if state.facts.model.on_gpu and count > 1 else []
        self._source = TrialSource(state, self._announcer, gpus=len(cards) or 1)
        self._boundary = Boundary(state, self._announcer, together=deterministic or count == 1)
        self._placement = Placement(state, self._source, self._boundary, self._workers)
        self._recovery = Recovery(state, self._announcer, limits, interrupted=state.running(), cards=cards)
        self._starting = Starting(state, self._announcer, self._recovery, self._workers)
        self._ending = SearchEnd(
            state,
            self._source,
            self._workers,
            self._announcer,
            stop,
            timeout=timeout,
            limits=limits,
            clock=clock,
        )
        self.lock = LockPatience(state.store.url, self._workers, self._announcer, stop, limits, clock)
        self._prepared = [facts for _, facts in prepared[:count]]
        self._orchestration = 0.0
        self._rounds = 0

    def run(self) -> StudyEnded:
        """Go on until the study or this run of it is over."""
        with self._orchestrating():
            if self._state.trials:
                self._state.keep_best()  # an earlier run may have left files that nobody needs
                self._source.stop_waiting()
        if (why := self._ending.why()) is not None:
            return self._end(why)  # before any worker loads a model for nothing
        for worker, facts in zip(self._workers, self._prepared, strict=False):
            self._starting.check(worker, facts)
        for worker in self._workers:
            if not worker.ready:
                self._starting.start(worker)
        while (why := self._ending.why()) is None:
            if not self._ending.asked:
                self._go_on()
            # While the workers train: Optuna's copy, and the database made one file again.
            with self._orchestrating():
                self._copy_to_optuna()
                self._state.store.fold_log()
            self._listen()
        return self._end(why)

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.close()

    def _go_on(self) -> None:
        """Begin the next pass of every worker that has ended one."""
        if self._starting.known:
            with self._orchestrating():
                self._placement.place()
        for worker in self._workers:
            if worker.ready and not worker.given_up:
                self._begin_pass(worker)

    def _begin_pass(self, worker: WorkerState) -> None:
        """Train those of a worker's trials whose round has not ended, if there are any."""
        pack = worker.pack(self._boundary.reached)
        if not pack:
            return
        state = self._state
        with self._orchestrating():
            self._recovery.begin_pass(worker, pack)
        folder = state.folder / study_files.CHECKPOINTS
        worker.begin_round(pack, state.trials, state.checkpoint, folder, self._now())
        self._announcer.show()

    def _listen(self) -> None:
        """Hear every worker once, waiting a little where none has news."""
        busy = [worker for worker in self._workers if worker.training]
        preparing = [worker for worker in self._workers if worker.preparing]
        if not busy and not preparing:
            time.sleep(self._limits.poll)
        share = self._limits.poll / max(1, len(busy) + len(preparing))
        for worker in preparing:
            self._starting.hear(worker, share)
        for worker in busy:
            self._hear(worker, share)
        with self._orchestrating():
            ended = self._boundary.end_whole([worker for worker in self._workers if not worker.given_up])
        if ended:
            self._announcer.show()
        self._announcer.show_again()

    def _hear(self, worker: WorkerState, timeout: float) -> None:
        """Take what a worker that trains has to say, or end it where it has been silent for too long."""
        match worker.poll(timeout, self._now):
            case Done() as done:
                self._rounds += len(done.results)
                self._announcer.trained(result.round for result in done.results)
                with self._orchestrating():
                    self._boundary.end_pass(worker, done)
                    self._recovery.pass_ended(worker, len(done.results))
            case RoundProgress():
                self._announcer.show()
            case SlotFailed() as failed:
                with self._orchestrating():
                    self._recovery.slot_failed(worker, failed)
            case WorkerFailed() as failed:
                self._lose(worker, failed)
        if (silent := worker.hung(self._now())) is not None:
            reason = f"worker {worker.index} made no progress for {silent:.0f} s and was ended"
            self._lose(worker, WorkerFailed(reason=reason))

    def _lose(self, worker: WorkerState, event: WorkerFailed) -> None:
        """Start a dead worker again; its trials go on from their last checkpoints."""
        with self._orchestrating():
            self._recovery.worker_lost(worker, event)
        self._starting.start(worker)

    def _copy_to_optuna(self) -> None:
        """Bring Optuna's copy up to date; say where it is not found under the study's name."""
        name, found = self._state.study.name, self._state.project()
        if found is not None and found != name:
            self._announcer.tell(name_taken_in_optuna(name, found))

    def _end(self, why: Why) -> StudyEnded:
        """Close the workers, say how it ended and leave nothing that nobody needs."""
        self.close()
        state = self._state
        with self._orchestrating():
            if why == "complete":
                state.settle_total()
            if not self._stop.immediate:
                self._copy_to_optuna()
            kind = "finished" if why in ("complete", "exhausted") else "interrupted"
            detail = {"why": why, "seconds": self._now() - self._begun, "rounds": self._rounds}
            detail["orchestration_seconds"] = self._orchestration
            state.store.add_event(state.study.id, kind, **detail)
            if kind == "finished":
                state.keep_best()
        self._announcer.show()
        best = state.best()
        ended = StudyEnded(
            why=why,
            counts=state.counts(),
            best=None if best is None else best.number,
            seconds=self._now() - self._begun,
            orchestration_seconds=self._orchestration,
            rounds=self._rounds,
        )
        self._announcer.tell(ended)
        return ended

    @contextlib.contextmanager
    def _orchestrating(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._orchestration += time.perf_counter() - begun
