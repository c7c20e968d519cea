"""One worker's place in the search: who is inside, how long it may be silent, what follows its death.

Moves trials in and out of the worker; records nothing and decides nothing about trials.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import statistics
from collections.abc import Callable, Container, Mapping
from pathlib import Path

from ..objectives.base import Done, Event, Progress, SlotProgress, Worker
from ..study.config import ObjectiveConfig
from ..study.facts import Facts
from ..study.records import TrialRecord
from .passes import beginning, next_pass
from .worker_start import Preparation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient a search is."""

    silence: float = 120.0
    """Seconds without progress after which a worker may count as hung, at the least."""
    silence_factor: float = 5.0
    """The same, in lengths of an ordinary quantum; the greater of both holds."""
    grace: float = 5.0
    """Seconds that a search asked to end waits for a boundary."""
    starts: int = 3
    """How often in a row a worker may fail to start before it is given up."""
    killed_starts: int = 10
    """The same, where another process ended it each time."""
    failures: int = 3
    """How many trials in a row may kill their workers before the machine is to blame."""
    lock_news: float = 3.0
    """Seconds of waiting for another program's lock on the database before that is said."""
    poll: float = 0.05
    """Seconds to wait for news of all workers together."""


class Seat:
    """A worker and the trials that it is to train."""

    def __init__(
        self,
        index: int,
        factory: Callable[[int], Worker],
        objective: ObjectiveConfig,
        limits: Limits,
        slots: int,
    ) -> None:
        self.index = index
        self.passes = beginning(slots)
        """How many trials it trains at once, and who is tried apart because the worker died."""
        self.members: list[int] = []
        """The trials that are its own, in the worker or waiting for a later pass."""
        self.inside: list[int] = []
        """Those that are in the worker, in the order of the slots."""
        self.training = False
        """Whether a quantum is running."""
        self.failed_starts = 0
        """Starts in a row that failed."""
        self.given_up = False
        """Whether it is no longer used."""
        self.begun_at = datetime.datetime.now(datetime.UTC)
        """When the quantum began."""
        self.progress: dict[int, SlotProgress] = {}
        """The last that was heard of each trial inside the quantum."""
        self.last: Progress | None = None
        """The last sign of life in the quantum."""
        self._factory = factory
        self._objective = objective
        self._limits = limits
        self._worker: Worker | None = None
        self._preparation: Preparation | None = None
        self._facts: Facts | None = None
        self._begun = 0.0
        self._sign = 0.0
        self._seconds: list[float] = []

    @property
    def preparing(self) -> bool:
        """Whether the worker is on its way up."""
        return self._preparation is not None

    @property
    def ready(self) -> bool:
        """Whether a quantum can be begun."""
        return self._worker is not None and self._preparation is None and not self.training

    def seat_worker(self, worker: Worker, facts: Facts) -> None:
        """Take a worker that is prepared already."""
        self._worker, self._facts = worker, facts
        self._fit(facts)

    def begin_start(self) -> None:
        """Make a worker and begin to prepare it."""
        worker = self._factory(self.index)
        self._worker = worker
        self._preparation = Preparation(worker, dataclasses.replace(self._objective, slots=self.passes.slots))

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
        if facts.slots < self.passes.slots:
            fewer = min(self.passes.limit, facts.slots)
            self.passes = dataclasses.replace(self.passes, slots=facts.slots, limit=fewer)

    def pack(self, ended: Container[int] = ()) -> tuple[int, ...]:
        """Return the trials of the next pass, of those whose round has not ended."""
        return next_pass(self.passes, [number for number in sorted(self.members) if number not in ended])

    def begin_quantum(
        self,
        pack: tuple[int, ...],
        trials: Mapping[int, TrialRecord],
        checkpoint: Callable[[int], Path | None],
        save_to: Path,
        now: float,
    ) -> None:
        """Bring the pack into the worker and begin a quantum."""
        assert self.ready
        assert self._worker is not None
        for number in [number for number in self.inside if number not in pack]:
            self._worker.remove(number)
            self.inside.remove(number)
        for number in [number for number in pack if number not in self.inside]:
            trial = trials[number]
            self._worker.add(
                number,
                trial.params,
                seed=trial.seed,
                attempt=trial.attempt,
                resume_from=checkpoint(number),
            )
            self.inside.append(number)
        self.progress, self.last = {}, None
        self._begun = self._sign = now
        self.begun_at = datetime.datetime.now(datetime.UTC)
        self.training = True
        self._worker.start(save_to)

    def poll(self, timeout: float, now: Callable[[], float]) -> Event | None:
        """Return what happened next in the quantum, and note it as a sign of life if it went on."""
        assert self._worker is not None
        event = self._worker.poll(timeout)
        if isinstance(event, Progress):
            before = self.last
            # A worker that says the same thing for ever has hung as well.
            if before is None or before.phase != event.phase or _seen(before) != _seen(event):
                self._sign = now()
            self.last = event
            self.progress.update({slot.trial: slot for slot in event.slots})
        elif isinstance(event, Done):
            self.training = False
            self.failed_starts = 0
            self._seconds = [*self._seconds[-8:], now() - self._begun]
        elif event is not None:
            self._sign = now()
        return event

    def leave(self, number: int) -> None:
        """Let a trial go that has ended, or that another worker takes."""
        if number in self.members:
            self.members.remove(number)

    def lose_worker(self) -> tuple[int, ...]:
        """Close the worker and return the trials that were inside; they are still members."""
        pack = tuple(self.inside)
        self.close()
        return pack

    def close(self) -> None:
        """End the worker, if there is one."""
        worker, self._worker, self._preparation = self._worker, None, None
        self.inside, self.training = [], False
        self.progress, self.last = {}, None
        if worker is not None:
            worker.close()

    def hung(self, now: float) -> float | None:
        """Return for how long a worker has been silent if that is too long, else None."""
        silent = now - self._sign
        ordinary = self._ordinary_seconds()
        patience = max(self._limits.silence, self._limits.silence_factor * ordinary)
        return silent if self.training and silent > patience else None

    def excuse(self, now: float) -> None:
        """Count a worker's silence from now on: it was not listened to."""
        self._sign = now

    def seconds_to_boundary(self, now: float, quantum: int, known: Callable[[int], int]) -> float | None:
        """Return an estimate of the time to the quantum's end; None where nothing is known.

        ``quantum`` is its examples; ``known`` gives the quanta that a trial had when it began.
        """
        spent = now - self._begun
        if self._seconds:
            return max(0.0, statistics.median(self._seconds) - spent)
        if self.last is None or not self.last.slots:
            return None
        shares = [(slot.examples - known(slot.trial) * quantum) / quantum for slot in self.last.slots]
        share = min(max(statistics.mean(shares), 0.0), 1.0)
        return math.inf if share == 0 else spent * (1 - share) / share

    def _ordinary_seconds(self) -> float:
        """Return how long a quantum takes here: measured, or guessed from a pack of one."""
        if self._seconds:
            return statistics.median(self._seconds)
        if self._facts is None or self._facts.rows_per_second <= 0:
            return 0.0
        rows = self._facts.budget.quantum * max(1, len(self.inside))
        return rows / self._facts.rows_per_second


def _seen(progress: Progress) -> int:
    return sum(slot.examples for slot in progress.slots)
