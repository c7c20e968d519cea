"""When a search is over: its trials have ended, its time is up, or it was asked to end.

Asked to end, it does so at the next boundary if that is near; what cannot end in time is dropped, and
resume does that round again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..study.events import Why
from ..study.sentences import ending
from .interrupt import StopSignal
from .limits import Limits
from .progress import Announcer
from .study_state import StudyState
from .trial_source import TrialSource
from .worker_state import WorkerState


class SearchEnd:
    """Watches for the end; closes nothing."""

    def __init__(
        self,
        state: StudyState,
        source: TrialSource,
        workers: Sequence[WorkerState],
        announcer: Announcer,
        stop: StopSignal,
        *,
        timeout: float | None,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._source = source
        self._workers = workers
        self._announcer = announcer
        self._stop = stop
        self._timeout = timeout
        self._limits = limits
        self._now = clock
        self._begun = clock()
        self._asked_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether the search is to end, so that no pass begins any more."""
        return self._asked_at is not None

    def why(self) -> Why | None:
        """Return why this run is over, None while it is not."""
        training = any(worker.training for worker in self._workers)
        if self._source.over and not self._state.running():
            return "exhausted" if self._source.exhausted else "complete"
        late = self._timeout is not None and self._now() - self._begun >= self._timeout
        if not (self._stop.requested or late):
            return None
        why: Why = "interrupted" if self._stop.requested else "timeout"
        if self._asked_at is None:
            self._asked_at = self._now()
            if training and not self._stop.immediate:
                self._announcer.tell(ending())
        if self._stop.immediate or not training:
            return why
        waited = self._now() - self._asked_at
        return None if any(self._is_near(worker, waited) for worker in self._workers) else why

    def _is_near(self, worker: WorkerState, waited: float) -> bool:
        """Return whether a worker's boundary comes within the grace that is left."""
        if not worker.training or waited > self._limits.grace:
            return False
        round_examples = self._state.facts.budget.round_examples
        trials = self._state.trials
        left = worker.seconds_to_boundary(self._now(), round_examples, lambda number: trials[number].rounds)
        return left is None or waited + left <= self._limits.grace
