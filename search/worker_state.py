"""One worker's place in the search: who is inside, how long it may be silent, what follows its death.

Moves trials in and out of the worker; records nothing and decides nothing about trials.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import statistics
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from pathlib import Path

from ..objectives.base import Done, RoundProgress, SlotProgress, Worker, WorkerEvent
from ..study.config import ObjectiveConfig
from ..study.facts import Facts
from ..study.records import TrialRecord
from .bisect import Suspicion
from .limits import Limits
from .passes import Passes, after_pass, after_round, beginning, next_pass
from .worker_start import Preparation


class WorkerState:
    """A worker and the trials that it is to train; changed by its own methods alone."""

    def __init__(
        self,
        index: int,
        factory: Callable[[int], Worker],
        objective: ObjectiveConfig,
        limits: Limits,
        slots: int,
    ) -> None:
        self._index = index
        self._passes = beginning(slots)
        self._members: tuple[int, ...] = ()
        self._inside: tuple[int, ...] = ()
        self._training = False
        self._failed_starts = 0
        self._given_up = False
        self._begun_at = datetime.datetime.now(datetime.UTC)
        self._progress: dict[int, SlotProgress] = {}
        self._last: RoundProgress | None = None
        self._factory = factory
        self._objective = objective
        self._limits = limits
        self._worker: Worker | None = None
        self._preparation: Preparation | None = None
        self._untold: Worker | None = None
        self._facts: Facts | None = None
        self._begun = 0.0
        self._sign = 0.0
        self._seconds: list[float] = []

    # What is known

    @property
    def index(self) -> int:
        """Its number."""
        return self._index

    @property
    def passes(self) -> Passes:
        """How many trials it trains at once, and who is tried apart because the worker died."""
        return self._passes

    @property
    def pass_tokens(self) -> int:
        """Tokens that go through its base model at once; 0: those of all its trials."""
        return self._objective.pass_tokens or 0

    @property
    def members(self) -> tuple[int, ...]:
        """The trials that are its own, in the worker or waiting for a later pass."""
        return self._members

    @property
    def inside(self) -> tuple[int, ...]:
        """Those that are in the worker, in the order of the slots."""
        return self._inside

    @property
    def training(self) -> bool:
        """Whether a round is running."""
        return self._training

    @property
    def failed_starts(self) -> int:
        """Starts in a row that failed."""
        return self._failed_starts

    @property
    def given_up(self) -> bool:
        """Whether it is no longer used."""
        return self._given_up

    @property
    def begun_at(self) -> datetime.datetime:
        """When the round began."""
        return self._begun_at

    @property
    def progress(self) -> Mapping[int, SlotProgress]:
        """The last that was heard of each trial inside the round."""
        return self._progress

    @property
    def last(self) -> RoundProgress | None:
        """The last sign of life in the round."""
        return self._last

    @property
    def preparing(self) -> bool:
        """Whether the worker is on its way up."""
        return self._preparation is not None

    @property
    def ready(self) -> bool:
        """Whether a round can be begun."""
        return self._worker is not None and self._preparation is None and not self._training

    @property
    def made(self) -> bool:
        """Whether its process is there and has not been told yet what to make ready."""
        return self._untold is not None

    def seat_worker(self, worker: Worker, facts: Facts) -> None:
        """Take a worker that is prepared already."""
        self._worker, self._facts = worker, facts
        self._fit(facts)

    def make(self) -> None:
        """Make a worker, which imports what it needs by itself."""
        self._untold = self._factory(self._index)

    def begin_start(self, found: Facts | None) -> None:
        """Begin to prepare the worker; ``found`` is what another one of this run found."""
        assert self._untold is not None
        worker, self._untold = self._untold, None
        self._worker = worker
        objective = dataclasses.replace(self._objective, slots=self._passes.slots, found=found)
        self._preparation = Preparation(worker, objective)

    def end_start(self, timeout: float) -> Facts | None:
        """Return what the worker found, None while it is not ready; raises what ``prepare`` raised."""
        assert self._preparation is not None
        if not self._preparation.wait(timeout):
            return None
        preparation, self._preparation = self._preparation, None
        self._facts = preparation.result()
        self._fit(self._facts)
        return self._facts

    def _fit(self, facts: Facts) -> None:
        """Train no more trials at once than the worker has slots for."""
        if facts.slots < self._passes.slots:
            fewer = min(self._passes.limit, facts.slots)
            self._passes = dataclasses.replace(self._passes, slots=facts.slots, limit=fewer)

    def pack(self, ended: Container[int] = ()) -> tuple[int, ...]:
        """Return the trials of the next pass, of those whose round has not ended."""
        return next_pass(self._passes, [number for number in sorted(self._members) if number not in ended])

    def begin_round(
        self,
        pack: tuple[int, ...],
        trials: Mapping[int, TrialRecord],
        checkpoint: Callable[[int], Path | None],
        save_to: Path,
        now: float,
    ) -> None:
        """Bring the pack into the worker and begin a round."""
        assert self.ready
        assert self._worker is not None
        for number in [number for number in self._inside if number not in pack]:
            self._worker.remove(number)
            self._inside = _without(self._inside, number)
        for number in [number for number in pack if number not in self._inside]:
            trial = trials[number]
            self._worker.add(
                number,
                trial.params,
                seed=trial.seed,
                attempt=trial.attempt,
                resume_from=checkpoint(number),
            )
            self._inside = (*self._inside, number)
        self._progress, self._last = {}, None
        self._begun = self._sign = now
        self._begun_at = datetime.datetime.now(datetime.UTC)
        self._training = True
        self._worker.start(save_to)

    def poll(self, timeout: float, now: Callable[[], float]) -> WorkerEvent | None:
        """Return what happened next in the round, and note it as a sign of life if it went on."""
        assert self._worker is not None
        event = self._worker.poll(timeout)
        if isinstance(event, RoundProgress):
            before = self._last
            # A worker that says the same thing for ever has hung as well.
            if before is None or before.phase != event.phase or _seen(before) != _seen(event):
                self._sign = now()
            self._last = event
            self._progress.update({slot.trial: slot for slot in event.slots})
        elif isinstance(event, Done):
            self._training = False
            self._failed_starts = 0
            self._seconds = [*self._seconds[-8:], now() - self._begun]
        elif event is not None:
            self._sign = now()
        return event

    def assign(self, members: Sequence[int]) -> None:
        """Give it these trials instead of those that it had."""
        self._members = tuple(members)

    def take(self, number: int) -> None:
        """Give it one trial more."""
        self._members = (*self._members, number)

    def leave(self, number: int) -> None:
        """Let a trial go that has ended, or that another worker takes."""
        self._members = _without(self._members, number)

    def lose_slot(self, number: int) -> None:
        """Note that a trial is no longer in the worker, though it is still a member."""
        self._inside = _without(self._inside, number)

    def forget(self, numbers: Collection[int]) -> None:
        """Drop the states of trials that another worker trains now: they would be old when it has them again.

        Those of a pass that is running are its own.
        """
        if self._worker is None or self._training:
            return
        for number in [number for number in self._inside if number in numbers]:
            self._worker.remove(number)
            self._inside = _without(self._inside, number)

    def end_pass(self, trials: int) -> None:
        """Note that it lived through a pass with so many trials."""
        self._passes = after_pass(self._passes, trials)

    def end_round(self) -> None:
        """Note that a whole round of its trials is over."""
        self._passes = after_round(self._passes)

    def go_on(self, passes: Passes, *, failed_starts: int) -> None:
        """Go on after a failure as was decided."""
        self._passes, self._failed_starts = passes, failed_starts

    def halve_pass(self) -> None:
        """From its next start on let half as many tokens go through the base model at once."""
        self._objective = dataclasses.replace(self._objective, pass_tokens=-(-self.pass_tokens // 2))

    def give_up(self) -> None:
        """Use it no more; its trials wait for another."""
        self._given_up = True
        self._members = ()
        self._passes = dataclasses.replace(self._passes, suspicion=Suspicion(), halved=())

    def lose_worker(self) -> tuple[int, ...]:
        """Close the worker and return the trials that were inside; they are still members."""
        pack = self._inside
        self.close()
        return pack

    def close(self) -> None:
        """End the worker, if there is one."""
        worker = self._worker or self._untold
        self._worker = self._untold = self._preparation = None
        self._inside, self._training = (), False
        self._progress, self._last = {}, None
        if worker is not None:
            worker.close()

    def hung(self, now: float) -> float | None:
        """Return for how long a worker has been silent if that is too long, else None."""
        silent = now - self._sign
        ordinary = self._ordinary_seconds()
        patience = max(self._limits.silence, self._limits.silence_factor * ordinary)
        return silent if self._training and silent > patience else None

    def excuse(self, now: float) -> None:
        """Count a worker's silence from now on: it was not listened to."""
        self._sign = now

    def seconds_to_boundary(
        self, now: float, round_examples: int, known: Callable[[int], int]
    ) -> float | None:
        """Return an estimate of the time to the round's end; None where nothing is known.

        ``round_examples`` are its examples; ``known`` gives the rounds that a trial had when it began.
        """
        spent = now - self._begun
        if self._seconds:
            return max(0.0, statistics.median(self._seconds) - spent)
        if self._last is None or not self._last.slots:
            return None
        shares = [
            (slot.examples - known(slot.trial) * round_examples) / round_examples for slot in self._last.slots
        ]
        share = min(max(statistics.mean(shares), 0.0), 1.0)
        return math.inf if share == 0 else spent * (1 - share) / share

    def _ordinary_seconds(self) -> float:
        """Return how long a round takes here: measured, or guessed from a pack of one."""
        if self._seconds:
            return statistics.median(self._seconds)
        trials = max(1, len(self._inside))
        if self._facts is None or (rate := self._facts.rate(trials)) <= 0:
            return 0.0
        return self._facts.budget.round_examples * trials / rate


def _seen(progress: RoundProgress) -> tuple[int, int]:
    return sum(slot.examples for slot in progress.slots), progress.passes


def _without(numbers: tuple[int, ...], gone: int) -> tuple[int, ...]:
    return tuple(number for number in numbers if number != gone)
