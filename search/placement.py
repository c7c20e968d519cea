"""Who trains what: trials that nobody trains are given a place, others where there is room.

A free place goes to a trial that waits and has earned it, then to a new one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .boundary import Boundary
from .concurrency import share_of_worker
from .passes import spread
from .study_state import StudyState
from .trial_source import TrialSource
from .worker_state import WorkerState


class Placement:
    """Moves trials between workers at boundaries; decides nothing about the trials themselves."""

    def __init__(
        self, state: StudyState, source: TrialSource, boundary: Boundary, workers: Sequence[WorkerState]
    ) -> None:
        self._state = state
        self._source = source
        self._boundary = boundary
        self._workers = workers

    def place(self) -> None:
        """Give every trial that goes on a place, and others where there is room."""
        self._source.stop_waiting()
        if self._boundary.together:
            self._place_together()
        else:
            for worker in self._used(ready=True):
                if self._boundary.has_reached_none(worker.members):
                    self._admit(worker)
                    self._share(worker)
        placed = {number for worker in self._workers for number in worker.members}
        for worker in self._workers:
            worker.forget(placed.difference(worker.members))

    def _place_together(self) -> None:
        count = len(self._workers)
        capacity = count * share_of_worker(self._state.slots, self._source.limit, count)
        while len(self._state.going()) < capacity and self._source.next_trial() is not None:
            pass
        workers = self._used()
        places = [worker.members for worker in workers]
        loose = set(self._state.going()).difference(*places)
        level = self._boundary.at_boundary and not any(worker.training for worker in workers)
        for worker, members in zip(workers, spread(places, loose, level=level), strict=True):
            worker.assign(members)

    def _admit(self, worker: WorkerState) -> None:
        """Fill a worker's free slots: first with trials that lost their worker, then from the source."""
        live = len(self._used())
        share = share_of_worker(self._state.slots, self._source.limit, live)
        # Another process may hold a part of one card's memory; then the other cards take more trials.
        room = min(share, worker.passes.slots) - len(worker.members)
        placed = {number for other in self._workers for number in other.members}
        loose = [number for number in self._state.going() if number not in placed]
        while room > 0:
            number = loose.pop(0) if loose else self._source.next_trial()
            if number is None:
                return
            worker.take(number)
            room -= 1

    def _share(self, worker: WorkerState) -> None:
        """Once no trial is left to begin, let some go to workers that would else have nothing to do."""
        if not self._source.over:
            return
        idle = [one for one in self._used(ready=True) if not one.members and one is not worker]
        keep = math.ceil(len(worker.members) / (1 + len(idle)))
        for number in sorted(worker.members)[keep:]:
            worker.leave(number)

    def _used(self, *, ready: bool = False) -> list[WorkerState]:
        """Return the workers in use; with ``ready`` those at a boundary."""
        return [one for one in self._workers if not one.given_up and (one.ready or not ready)]
