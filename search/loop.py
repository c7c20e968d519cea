"""The search itself: one coordinator that asks, decides and records while workers train.

At a worker's boundary, in this order: the quantum and its endings are recorded (checkpoints are on disk
already, Optuna hears last), the trials that ended leave, new ones are proposed, the next quantum begins.
All of it follows from the record: with one worker an interrupted search makes the same trials.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from ..objectives.base import (
    Done,
    Facts,
    ObjectiveConfig,
    Progress,
    SlotFailed,
    SlotResult,
    Worker,
    WorkerFailed,
)
from ..spaces.errors import StorageError, WorkerError
from ..storage import files
from ..storage.records import State, StudyRecord
from ..storage.store import Store
from .admit import DUPLICATES, in_flight_limit, share_of_worker, twin_of
from .isolate import Suspicion, after_death, after_quantum, without
from .ledger import Ledger
from .measure import updates_of
from .propose import propose
from .seat import Limits, Seat
from .snapshot import Observer, Unobserved
from .stop import StopSignal
from .study import compare_facts, objective_of
from .verdict import Arrival, Verdict, judge
from .view import View

DISK_FULL = 2**20
"""With fewer bytes free no trial is to blame for the death of its worker."""

Why = Literal["complete", "exhausted", "interrupted", "timeout"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a search ended."""

    why: Why
    """``complete`` (all trials ended), ``exhausted`` (no untried configuration was found),
    ``interrupted`` or ``timeout``; the last two can be resumed."""
    counts: Mapping[State, int]
    """Trials by state, every state named."""
    best: int | None
    """Number of the best complete trial, None where there is none."""
    seconds: float
    """How long this run took."""
    orchestration_seconds: float
    """How much of it went into asking, deciding and recording."""
    quanta: int
    """Quanta trained in this run."""


def run(
    store: Store,
    study: StudyRecord,
    *,
    factory: Callable[[int], Worker],
    count: int = 1,
    prepared: Sequence[tuple[Worker, Facts]] = (),
    objective: ObjectiveConfig | None = None,
    observer: Observer | None = None,
    stop: StopSignal | None = None,
    timeout: float | None = None,
    take_over: bool = False,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run a study to its end, or until it is asked to stop; a study begun before goes on where it stood.

    Args:
        store: opened to write.
        study: as ``create`` or ``store.study`` returned it.
        factory: makes the worker of an index, in the calling thread.
        count: how many workers.
        prepared: workers that are prepared already, of indices 0, 1 …; they are closed at the end.
        objective: what workers are prepared with; from ``objective_of``, by default without a cache.
        observer: who looks on.
        stop: how the search is asked to end.
        timeout: seconds after which it ends by itself, as if asked to.
        take_over: end another owner of the study first.
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
        search = _Search(
            ledger=Ledger(store, study),
            factory=factory,
            count=count,
            prepared=prepared,
            objective=objective or objective_of(study),
            observer=observer or Unobserved(),
            stop=stop or StopSignal(),
            timeout=timeout,
            limits=limits or Limits(),
            clock=clock,
        )
        return search.run()
    finally:
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
        observer: Observer,
        stop: StopSignal,
        timeout: float | None,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.ledger = ledger
        self.limits = limits
        self.stop = stop
        self.timeout = timeout
        self.now = clock
        self.begun = clock()
        self.total = ledger.study.trials
        self.limit = in_flight_limit(self.total)
        self.seats = [Seat(index, factory, objective, limits) for index in range(count)]
        self.view = View(ledger, self.seats, observer, clock)
        self.exhausted = False
        self.orchestration = 0.0
        self.quanta = 0
        self._torn: set[int] = set()
        """Trials whose last attempt did not end by itself: a dead worker may still write their files."""
        self._afresh: set[int] = set()
        """Trials that were last begun without a checkpoint."""
        self._failed_in_row = 0
        self._asked_at: float | None = None
        self._checked: set[tuple[str, ...]] = set()
        for seat, (worker, facts) in zip(self.seats, prepared, strict=False):
            seat.seat_worker(worker, facts)
            self._check(seat, facts)

    def run(self) -> Outcome:
        """Go on until the study or this run of it is over."""
        with self._orchestrating():
            self._recover()
        for seat in self.seats:
            if not seat.ready:
                seat.begin_start()
        while True:
            why = self._why_end()
            if why is not None:
                return self._end(why)
            if self._asked_at is None:
                for seat in self._seats(ready=True):
                    self._refill(seat)
            # Optuna's copy is written while the workers train.
            with self._orchestrating():
                self.ledger.project()
            self._listen()

    def close(self) -> None:
        """End every worker."""
        for seat in self.seats:
            seat.close()

    # Beginning and end

    def _recover(self) -> None:
        """Take up what an earlier run left: its running trials, its orphans, what Optuna lacks."""
        running = self.ledger.running()
        if self.ledger.trials:
            self.ledger.store.add_event(self.ledger.study.id, "resumed", running=list(running))
            self._torn.update(running)
            self.ledger.keep_best()
            ended = len(self.ledger.trials) - len(running)
            self.view.say(
                f"resumed: {ended} of {self.total} trials have ended, {len(running)} go on where they stood"
            )

    def _why_end(self) -> Why | None:
        """Return why this run is over, None while it is not."""
        training = any(seat.training for seat in self.seats)
        ended = self.exhausted or len(self.ledger.trials) >= self.total
        if ended and not self.ledger.running():
            return "exhausted" if self.exhausted else "complete"
        late = self.timeout is not None and self.now() - self.begun >= self.timeout
        if not (self.stop.requested or late):
            return None
        why: Why = "interrupted" if self.stop.requested else "timeout"
        if self._asked_at is None:
            self._asked_at = self.now()
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

    def _end(self, why: Why) -> Outcome:
        """Close the workers, say how it ended and leave nothing that nobody needs."""
        self.close()
        with self._orchestrating():
            if not self.stop.immediate:
                self.ledger.project()
            kind = "finished" if why in ("complete", "exhausted") else "interrupted"
            detail = {"why": why, "seconds": self.now() - self.begun, "quanta": self.quanta}
            detail["orchestration_seconds"] = self.orchestration
            self.ledger.store.add_event(self.ledger.study.id, kind, **detail)
            if kind == "finished":
                self.ledger.keep_best()
        self.view.show(self.quanta)
        best = self.ledger.best()
        return Outcome(
            why=why,
            counts=self.ledger.counts(),
            best=None if best is None else best.number,
            seconds=self.now() - self.begun,
            orchestration_seconds=self.orchestration,
            quanta=self.quanta,
        )

    # Who trains what

    def _refill(self, seat: Seat) -> None:
        """Give a worker at a boundary its trials and begin the next quantum, if there are any."""
        with self._orchestrating():
            if not seat.suspicion.groups:
                self._admit(seat)
                self._share(seat)
            for number in seat.pack():
                if number in self._torn:
                    self.ledger.begin_attempt(number)
                    self._torn.discard(number)
        if not seat.pack():
            return
        for number in seat.pack():
            if number not in seat.inside and self.ledger.checkpoint(number) is None:
                self._afresh.add(number)
            elif number not in seat.inside:
                self._afresh.discard(number)
        seat.begin_quantum(
            self.ledger.trials, self.ledger.checkpoint, self.ledger.folder / files.CHECKPOINTS, self.now()
        )
        self.view.show(self.quanta)

    def _admit(self, seat: Seat) -> None:
        """Fill a worker's free slots: first with trials that wait for a place, then with new ones."""
        assert seat.slots is not None
        live = len(self._seats())
        room = share_of_worker(seat.slots, self.limit, live) - len(seat.members)
        seated = {number for other in self.seats for number in other.members}
        waiting = [number for number in self.ledger.running() if number not in seated]
        while room > 0:
            number = waiting.pop(0) if waiting else self._new_trial()
            if number is None:
                return
            seat.members.append(number)
            room -= 1

    def _share(self, seat: Seat) -> None:
        """Once no trial is left to begin, let some go to workers that would else have nothing to do."""
        if len(self.ledger.trials) < self.total and not self.exhausted:
            return
        idle = [other for other in self._seats(ready=True) if not other.members and other is not seat]
        keep = math.ceil(len(seat.members) / (1 + len(idle)))
        for number in sorted(seat.members)[keep:]:
            seat.leave(number)

    def _new_trial(self) -> int | None:
        """Record the next trial and return its number; None where none may begin."""
        ledger, config = self.ledger, self.ledger.config
        number = len(ledger.trials)
        if number >= self.total or self.exhausted or len(ledger.running()) >= self.limit:
            return None
        if number < len(config.first):
            return ledger.add(config.first[number], "enqueued" if number else "default")
        while (tries := ledger.duplicates(number)) < DUPLICATES:
            params, source = propose(
                config.space,
                ledger.history(),
                number=number,
                seed=config.seed,
                sampler=config.sampler,
                tries=tries,
            )
            twin = twin_of(params, ledger.tried)
            if twin is None:
                return ledger.add(params, source)
            ledger.add_duplicate(twin, params)
        self.exhausted = True
        self.view.say(
            f"the space is exhausted: {DUPLICATES} proposals in a row were of configurations tried before; "
            f"the study ends with {number} trials"
        )
        return None

    # What happens

    def _listen(self) -> None:
        """Hear every worker once, waiting a little where none has news."""
        busy = [seat for seat in self.seats if seat.training]
        preparing = [seat for seat in self.seats if seat.preparing]
        share = self.limits.poll / max(1, len(busy) + len(preparing))
        for seat in preparing:
            self._hear_start(seat, share)
        for seat in busy:
            event = seat.poll(share, self.now)
            if isinstance(event, Done):
                with self._orchestrating():
                    self._boundary(seat, event)
                self.view.show(self.quanta)
            elif isinstance(event, Progress):
                self.view.show(self.quanta)
            elif isinstance(event, SlotFailed):
                self._slot_failed(seat, event)
            elif isinstance(event, WorkerFailed):
                self._worker_lost(seat, event.reason, out_of_memory=event.out_of_memory)
            if (silent := seat.hung(self.now())) is not None:
                self._worker_lost(
                    seat, f"worker {seat.index} made no progress for {silent:.0f} s and was ended"
                )

    def _boundary(self, seat: Seat, done: Done) -> None:
        """Record a quantum and what follows from it."""
        ledger = self.ledger
        fresh: dict[int, SlotResult] = {}
        for result in done.results:
            if result.quantum <= ledger.trials[result.trial].quanta:
                ledger.repeat(result.trial, result.checkpoint)
            else:
                fresh[result.trial] = result
        self.quanta += len(done.results)
        updates = updates_of(tuple(fresh.values()), done, ledger.facts, seat.index, seat.begun_at)
        arrivals = [
            Arrival(
                trial=update.trial,
                params=ledger.trials[update.trial].params,
                quantum=update.quantum,
                eval_loss=update.point.eval_loss,
                diverged=fresh[update.trial].diverged,
                # The report compares the best with the default, so that must have a value.
                never_stopped=ledger.trials[update.trial].source == "default",
            )
            for update in updates
        ]
        verdicts = judge(
            arrivals,
            ledger.rungs({update.trial: update.point for update in updates}),
            base_loss=ledger.facts.base_loss,
            vocab_size=ledger.facts.model.vocab_size,
            pruner=ledger.config.pruner,
        )
        ledger.record(updates, verdicts)
        for verdict in verdicts:
            self._say_ended(verdict)
            seat.leave(verdict.trial)
        self._failed_in_row = 0
        if seat.suspicion.groups:
            self._cleared(seat)

    def _cleared(self, seat: Seat) -> None:
        """Note that a suspected group ended a quantum alive."""
        seat.suspicion = after_quantum(seat.suspicion)
        if seat.suspicion.groups:
            return
        if seat.suspects and seat.slots is not None and seat.slots > 1:
            # Each half lives and the whole dies: it is their number, as where memory runs out unsaid.
            self._shrink(seat, max(1, len(seat.suspects) // 2))
        seat.suspects = ()

    def _slot_failed(self, seat: Seat, event: SlotFailed) -> None:
        """Let a trial that could not be taken up begin anew; one that had no checkpoint fails."""
        number = event.trial
        seat.inside.remove(number)
        with self._orchestrating():
            if number in self._afresh:
                self._finish(seat, number, "failed", event.reason)
                return
            self.ledger.start_over(number, event.reason)
        self._torn.add(number)
        self.view.say(f"trial {number} starts over: {event.reason}")

    def _worker_lost(self, seat: Seat, reason: str, *, out_of_memory: bool = False) -> None:
        """Start a dead worker again; its trials go on from their last checkpoints."""
        pack = seat.lose_worker()
        self._torn.update(pack)
        folder = self.ledger.store.artifacts
        if "no space left" in reason.lower() or shutil.disk_usage(folder).free < DISK_FULL:
            raise StorageError(f"no space left on the disk of {folder}; free some and tune resume")
        with self._orchestrating():
            self.ledger.store.add_event(
                self.ledger.study.id, "worker", worker=seat.index, reason=reason, trials=list(pack)
            )
            self.view.say(f"{reason}; its {len(pack)} trials go on from their last checkpoints")
            if pack and out_of_memory:
                self._out_of_memory(seat, pack, reason)
            elif pack:
                self._suspect(seat, pack, reason)
        seat.begin_start()

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
        self.ledger.store.add_event(self.ledger.study.id, "slots", worker=seat.index, slots=slots)
        self.view.say(f"worker {seat.index} now trains {slots} trials at once")

    def _suspect(self, seat: Seat, pack: tuple[int, ...], reason: str) -> None:
        """Narrow down which trial kills its worker; the one to blame fails alone."""
        seat.suspicion, culprit = after_death(seat.suspicion, pack)
        if culprit is None:
            halved = seat.suspicion.groups[0] != pack
            seat.suspects = seat.suspects or (pack if halved else ())
            return
        seat.suspects = ()
        self._failed_in_row += 1
        if self._failed_in_row >= self.limits.failures:
            raise WorkerError(
                f"{self._failed_in_row} trials in a row killed their workers, the last so: {reason}; "
                "mend the cause, then tune resume goes on"
            )
        self._finish(seat, culprit, "failed", f"kills its worker: {reason}")

    def _finish(self, seat: Seat, number: int, state: State, reason: str) -> None:
        """End a trial that has no result."""
        verdict = Verdict(trial=number, state=state, reason=reason, value=None)
        self.ledger.record((), (verdict,))
        self._torn.discard(number)
        seat.leave(number)
        seat.suspicion = without(seat.suspicion, number)
        self._say_ended(verdict)

    def _hear_start(self, seat: Seat, timeout: float) -> None:
        """Take a worker that has come up; try again where it has not, and give it up in the end."""
        try:
            facts = seat.end_start(timeout)
        except WorkerError as error:
            seat.close()
            seat.failed_starts += 1
            if seat.failed_starts < self.limits.starts:
                self.view.say(f"{error}; starting it again")
                seat.begin_start()
                return
            self._give_up(seat, error)
            return
        if facts is not None:
            self._check(seat, facts)

    def _give_up(self, seat: Seat, error: WorkerError) -> None:
        """Go on without a worker; its trials wait for another one."""
        seat.given_up = True
        seat.members.clear()
        seat.suspicion, seat.suspects = Suspicion(), ()
        self.ledger.store.add_event(
            self.ledger.study.id, "worker", worker=seat.index, reason=str(error), trials=[]
        )
        if not self._seats():
            raise WorkerError(f"no worker can be started: {error}") from error
        self.view.say(f"worker {seat.index} is given up after {seat.failed_starts} starts: {error}")

    def _check(self, seat: Seat, facts: Facts) -> None:
        """Hold what a worker found against the study; note once what another machine or build changes."""
        changes = compare_facts(self.ledger.facts, facts)
        if not changes or changes in self._checked:
            return
        self._checked.add(changes)
        self.ledger.store.add_event(
            self.ledger.study.id, "environment", worker=seat.index, changes=list(changes)
        )
        self.view.say(
            f"the study was made elsewhere, so its trials may differ in the last digits: {'; '.join(changes)}"
        )

    # Small things

    def _seats(self, *, ready: bool = False) -> list[Seat]:
        """Return the workers in use; with ``ready`` those at a boundary."""
        return [seat for seat in self.seats if not seat.given_up and (seat.ready or not ready)]

    def _say_ended(self, verdict: Verdict) -> None:
        what = f"value {verdict.value:.4f}" if verdict.value is not None else str(verdict.reason)
        self.view.say(f"trial {verdict.trial} {verdict.state}: {what}")

    @contextlib.contextmanager
    def _orchestrating(self) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.orchestration += time.perf_counter() - begun
