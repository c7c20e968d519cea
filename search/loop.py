"""The search itself: one coordinator that asks, decides and records while workers train.

At a boundary, in this order: the quantum and its endings are recorded (checkpoints are on disk already,
Optuna hears last), the trials that ended leave, new ones are proposed, the next quantum begins.

A boundary is that of a *round*: the trials that are judged together, each after one more quantum. With one
worker, or with ``deterministic``, the round is of all running trials; else each worker has its own. A round
is judged when all of its trials have ended it, in however many passes and whoever died meanwhile. So with
one worker or ``deterministic`` all that is decided follows from the record alone.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import OutOfMemory, StorageError, WorkerError
from ..objectives.base import Done, Progress, SlotFailed, SlotResult, Worker, WorkerFailed
from ..storage import study_files
from ..storage.store import Store
from ..study.config import ObjectiveConfig
from ..study.events import Observer, PointRecorded, StudyEnded, StudyResumed, Why, WorkerStarted
from ..study.facts import Facts
from ..study.records import StudyRecord
from ..study.sentences import database_locked, ending, made_elsewhere, name_taken_in_optuna
from .concurrency import share_of_worker
from .interrupt import StopSignal
from .measure import Reached, updates_of
from .outcomes import Arrival, judge
from .passes import after_round, spread
from .progress import Announcer
from .recovery import Rescue
from .study_record import compare_facts, objective_of
from .study_state import Ledger
from .trial_source import Supply
from .worker_state import Limits, Seat

LOCK_NEWS_AGAIN = 30.0
"""Seconds until it is said again that the database is locked."""


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
            ledger=Ledger(store, study),
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
        store.wait_for_lock(search.locked)
        return search.run()
    finally:
        if search is None or not search.left_locked:
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
        ledger: Ledger,
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
        self.ledger = ledger
        self.limits = limits
        self.stop = stop
        self.timeout = timeout
        self.now = clock
        self.begun = clock()
        if objective.slots is not None and objective.slots != ledger.slots:
            ledger.limit_slots(objective.slots, worker=None, reason="asked for")
        self.seats = [Seat(index, factory, objective, limits, ledger.slots) for index in range(count)]
        self.together = deterministic or count == 1
        """Whether all running trials are one round, or each worker's are."""
        self.announcer = Announcer(ledger, self.seats, observers, clock)
        self.supply = Supply(ledger, self.announcer)
        self.rescue = Rescue(ledger, self.announcer, limits)
        self.orchestration = 0.0
        self.quanta = 0
        self._reached: dict[int, Reached] = {}
        """Trials that have ended their quantum while others of their round have not; not recorded yet."""
        self.left_locked = False
        """Whether it ended because the database was locked: then nothing more is written."""
        self._lock_told = 0.0
        self._known = False
        """Whether a worker has found the study's own model and data: before that nothing begins."""
        self._resumed = False
        """Whether it is to be said that the study goes on, once model and data are found to be its own."""
        self._asked_at: float | None = None
        self._checked: set[tuple[str, ...]] = set()
        for seat, (worker, facts) in zip(self.seats, prepared, strict=False):
            seat.seat_worker(worker, facts)
        self._prepared = [facts for _, facts in prepared[:count]]

    def run(self) -> StudyEnded:
        """Go on until the study or this run of it is over."""
        with self._orchestrating():
            self._recover()
        if (why := self._why_end()) is not None:
            return self._end(why)  # before any worker loads a model for nothing
        for seat, facts in zip(self.seats, self._prepared, strict=False):
            self._check(seat, facts)
        for seat in self.seats:
            if not seat.ready:
                self._start(seat)
        while True:
            why = self._why_end()
            if why is not None:
                return self._end(why)
            if self._asked_at is None:
                with self._orchestrating():
                    self._place()
                for seat in self._seats(ready=True):
                    self._begin_pass(seat)
            # While the workers train: Optuna's copy, and the database made one file again.
            with self._orchestrating():
                self._copy_to_optuna()
                self.ledger.store.fold_log()
            self._listen()

    def _copy_to_optuna(self) -> None:
        """Bring Optuna's copy up to date; say where it is not found under the study's name."""
        name, found = self.ledger.study.name, self.ledger.project()
        if found is not None and found != name:
            self.announcer.tell(name_taken_in_optuna(name, found))

    def close(self) -> None:
        """End every worker."""
        for seat in self.seats:
            seat.close()

    def locked(self, waited: float) -> None:
        """Bear with another program that holds the database; the workers train on meanwhile.

        Raises ``StorageError`` where the search was asked to end and the lock outlasts its patience.
        """
        url = self.ledger.store.url
        for seat in self.seats:
            seat.excuse(self.now())
        if waited < self._lock_told:
            self._lock_told = 0.0
        if waited >= self._lock_told + (LOCK_NEWS_AGAIN if self._lock_told else self.limits.lock_news):
            self._lock_told = waited
            self.announcer.tell(database_locked(url, waited))
        if self.left_locked or self.stop.immediate or (self.stop.requested and waited > self.limits.grace):
            self.left_locked = True
            raise StorageError(
                f"{url}: was still locked by another program when the search was asked to end; "
                "close that program, then tune resume goes on from the last boundary"
            )

    # Beginning and end

    def _recover(self) -> None:
        """Take up what an earlier run left: its running trials, its orphans, what Optuna lacks."""
        running = self.ledger.running()
        if self.ledger.trials:
            self.rescue.torn.update(running)
            self.ledger.keep_best()
            self._resumed = True

    def _why_end(self) -> Why | None:
        """Return why this run is over, None while it is not."""
        training = any(seat.training for seat in self.seats)
        if self.supply.over and not self.ledger.running():
            return "exhausted" if self.supply.exhausted else "complete"
        late = self.timeout is not None and self.now() - self.begun >= self.timeout
        if not (self.stop.requested or late):
            return None
        why: Why = "interrupted" if self.stop.requested else "timeout"
        if self._asked_at is None:
            self._asked_at = self.now()
            if training and not self.stop.immediate:
                self.announcer.tell(ending())
        if self.stop.immediate or not training:
            return why
        # Dropped is what cannot end in time; resume does that quantum again.
        waited = self.now() - self._asked_at
        return None if any(self._is_near(seat, waited) for seat in self.seats) else why

    def _is_near(self, seat: Seat, waited: float) -> bool:
        if not seat.training or waited > self.limits.grace:
            return False
        quantum = self.ledger.facts.budget.quantum
        left = seat.seconds_to_boundary(self.now(), quantum, lambda number: self.ledger.trials[number].quanta)
        return left is None or waited + left <= self.limits.grace

    def _end(self, why: Why) -> StudyEnded:
        """Close the workers, say how it ended and leave nothing that nobody needs."""
        self.close()
        with self._orchestrating():
            if not self.stop.immediate:
                self._copy_to_optuna()
            kind = "finished" if why in ("complete", "exhausted") else "interrupted"
            detail = {"why": why, "seconds": self.now() - self.begun, "quanta": self.quanta}
            detail["orchestration_seconds"] = self.orchestration
            self.ledger.store.add_event(self.ledger.study.id, kind, **detail)
            if kind == "finished":
                self.ledger.keep_best()
        self.announcer.show(self.quanta)
        best = self.ledger.best()
        ended = StudyEnded(
            why=why,
            counts=self.ledger.counts(),
            best=None if best is None else best.number,
            seconds=self.now() - self.begun,
            orchestration_seconds=self.orchestration,
            quanta=self.quanta,
        )
        self.announcer.tell(ended)
        return ended

    # Who trains what

    def _place(self) -> None:
        """Give trials that nobody trains a place, and begin new ones where there is room."""
        if not self._known:
            return
        seats = self._seats()
        if self.together:
            count = len(self.seats)
            capacity = count * share_of_worker(self.ledger.slots, self.supply.limit, count)
            while len(self.ledger.running()) < capacity and self.supply.next_trial() is not None:
                pass
            places = [seat.members for seat in seats]
            loose = set(self.ledger.running()).difference(*places)
            level = not self._reached and not any(seat.training for seat in seats)
            for seat, members in zip(seats, spread(places, loose, level=level), strict=True):
                seat.members = members
            return
        for seat in self._seats(ready=True):
            if self._reached.keys().isdisjoint(seat.members):
                self._admit(seat)
                self._share(seat)

    def _begin_pass(self, seat: Seat) -> None:
        """Train those of a worker's trials whose round has not ended, if there are any."""
        pack = seat.pack(self._reached)
        if not pack:
            return
        with self._orchestrating():
            for number in pack:
                if number in self.rescue.torn:
                    self.ledger.begin_attempt(number)
                    self.rescue.torn.discard(number)
        for number in pack:
            if number not in seat.inside and self.ledger.checkpoint(number) is None:
                self.rescue.afresh.add(number)
            elif number not in seat.inside:
                self.rescue.afresh.discard(number)
        folder = self.ledger.folder / study_files.CHECKPOINTS
        seat.begin_quantum(pack, self.ledger.trials, self.ledger.checkpoint, folder, self.now())
        self.announcer.show(self.quanta)

    def _admit(self, seat: Seat) -> None:
        """Fill a worker's free slots: first with trials that wait for a place, then with new ones."""
        live = len(self._seats())
        room = share_of_worker(self.ledger.slots, self.supply.limit, live) - len(seat.members)
        seated = {number for other in self.seats for number in other.members}
        waiting = [number for number in self.ledger.running() if number not in seated]
        while room > 0:
            number = waiting.pop(0) if waiting else self.supply.next_trial()
            if number is None:
                return
            seat.members.append(number)
            room -= 1

    def _share(self, seat: Seat) -> None:
        """Once no trial is left to begin, let some go to workers that would else have nothing to do."""
        if not self.supply.over:
            return
        idle = [other for other in self._seats(ready=True) if not other.members and other is not seat]
        keep = math.ceil(len(seat.members) / (1 + len(idle)))
        for number in sorted(seat.members)[keep:]:
            seat.leave(number)

    # What happens

    def _listen(self) -> None:
        """Hear every worker once, waiting a little where none has news."""
        busy = [seat for seat in self.seats if seat.training]
        preparing = [seat for seat in self.seats if seat.preparing]
        if not busy and not preparing:
            time.sleep(self.limits.poll)
        share = self.limits.poll / max(1, len(busy) + len(preparing))
        for seat in preparing:
            self._hear_start(seat, share)
        for seat in busy:
            event = seat.poll(share, self.now)
            if isinstance(event, Done):
                with self._orchestrating():
                    self._end_pass(seat, event)
            elif isinstance(event, Progress):
                self.announcer.show(self.quanta)
            elif isinstance(event, SlotFailed):
                with self._orchestrating():
                    self.rescue.slot_failed(seat, event)
            elif isinstance(event, WorkerFailed):
                self._lose(seat, event)
            if (silent := seat.hung(self.now())) is not None:
                reason = f"worker {seat.index} made no progress for {silent:.0f} s and was ended"
                self._lose(seat, WorkerFailed(reason=reason))
        for seats in [self._seats()] if self.together else [[seat] for seat in self._seats()]:
            if self._is_whole(seats):
                with self._orchestrating():
                    self._boundary(seats)
                self.announcer.show(self.quanta)

    def _end_pass(self, seat: Seat, done: Done) -> None:
        """Note who has ended the quantum; a trial that lost its state and catches up has not yet."""
        reached: list[SlotResult] = []
        for result in done.results:
            if result.quantum <= self.ledger.trials[result.trial].quanta:
                self.ledger.repeat(result.trial, result.checkpoint)
            else:
                reached.append(result)
        self.quanta += len(done.results)
        diverged = {result.trial: result.diverged for result in reached}
        for update in updates_of(reached, done, self.ledger.facts, seat.index, seat.begun_at):
            self._reached[update.trial] = Reached(update=update, diverged=diverged[update.trial])
        self.rescue.pass_ended(seat, len(done.results))

    def _is_whole(self, seats: Sequence[Seat]) -> bool:
        """Return whether every trial of a round has ended it."""
        if any(seat.training for seat in seats):
            return False
        numbers = self.ledger.running() if self.together else [n for seat in seats for n in seat.members]
        return bool(numbers) and all(number in self._reached for number in numbers)

    def _boundary(self, seats: Sequence[Seat]) -> None:
        """Record a round and what follows from it."""
        ledger = self.ledger
        ended = sorted(number for seat in seats for number in seat.members if number in self._reached)
        reached = [self._reached.pop(number) for number in ended]
        updates = [one.update for one in reached]
        arrivals = [
            Arrival(
                trial=one.update.trial,
                params=ledger.trials[one.update.trial].params,
                quantum=one.update.quantum,
                eval_loss=one.update.point.eval_loss,
                diverged=one.diverged,
                # The report compares the best with the default, so that must have a value.
                never_stopped=ledger.trials[one.update.trial].source == "default",
            )
            for one in reached
        ]
        verdicts = judge(
            arrivals,
            ledger.rungs({update.trial: update.point for update in updates}),
            base_loss=ledger.facts.base_loss,
            pruner=ledger.config.pruner,
        )
        ledger.record(updates, verdicts)
        for update in updates:
            self.announcer.tell(PointRecorded(point=update.point))
        for verdict in verdicts:
            self.announcer.tell(verdict.event)
        for seat in seats:
            for verdict in verdicts:
                seat.leave(verdict.trial)
            seat.passes = after_round(seat.passes)

    def _lose(self, seat: Seat, event: WorkerFailed) -> None:
        """Start a dead worker again; its trials go on from their last checkpoints."""
        with self._orchestrating():
            self.rescue.worker_lost(seat, event)
        self._start(seat)

    def _start(self, seat: Seat) -> None:
        """Begin to start a worker."""
        try:
            seat.begin_start()
        except WorkerError as error:
            self._start_failed(seat, error)

    def _hear_start(self, seat: Seat, timeout: float) -> None:
        """Take a worker that has come up."""
        try:
            facts = seat.end_start(timeout)
        except WorkerError as error:
            self._start_failed(seat, error)
            return
        if facts is not None:
            self._check(seat, facts)

    def _start_failed(self, seat: Seat, error: WorkerError) -> None:
        """Start a worker again that did not come up, and go on without it in the end."""
        with self._orchestrating():
            again = self.rescue.start_failed(seat, error)
        if again:
            self._start(seat)
        elif not self._seats():
            if isinstance(error, OutOfMemory):
                raise error
            raise WorkerError(f"no worker can be started: {error}") from error

    def _check(self, seat: Seat, facts: Facts) -> None:
        """Hold what a worker found against the study; note once what another machine or build changes."""
        changes = compare_facts(self.ledger.facts, facts)
        self.ledger.complete_facts(facts)
        self._known = True
        self.announcer.tell(WorkerStarted(worker=seat.index))
        self._say_resumed()
        if not changes or changes in self._checked:
            return
        self._checked.add(changes)
        self.ledger.store.add_event(
            self.ledger.study.id, "environment", worker=seat.index, changes=list(changes)
        )
        self.announcer.tell(made_elsewhere(changes))

    def _say_resumed(self) -> None:
        """Say, once, that the study goes on: the first worker has found its model and data unchanged."""
        if not self._resumed:
            return
        self._resumed = False
        running = self.ledger.running()
        self.ledger.store.add_event(self.ledger.study.id, "resumed", running=list(running))
        ended = len(self.ledger.trials) - len(running)
        self.announcer.tell(StudyResumed(ended=ended, running=running, trials=self.supply.total))

    # Small things

    def _seats(self, *, ready: bool = False) -> list[Seat]:
        """Return the workers in use; with ``ready`` those at a boundary."""
        return [seat for seat in self.seats if not seat.given_up and (seat.ready or not ready)]

    @contextlib.contextmanager
    def _orchestrating(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.orchestration += time.perf_counter() - begun
