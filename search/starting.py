"""Workers on their way up: started, heard, held against the study, started again where they do not come.

All processes start at the same time. The first one looks at model and data; the others, which import
meanwhile, are told what it found.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DeviceLost, LoratuneError, OutOfMemory, WorkerError
from ..study.events import StudyResumed, WorkerStarted
from ..study.facts import Facts
from ..study.sentences import made_elsewhere
from .progress import Announcer
from .recovery import Recovery
from .study_record import compare_facts
from .study_state import StudyState
from .worker_state import WorkerState


class Starting:
    """Brings workers up."""

    def __init__(
        self,
        state: StudyState,
        announcer: Announcer,
        recovery: Recovery,
        workers: Sequence[WorkerState],
    ) -> None:
        self.known = False
        """Whether a worker has found the study's own model and data: before that nothing begins."""
        self._state = state
        self._announcer = announcer
        self._recovery = recovery
        self._workers = workers
        self._checked: set[tuple[str, ...]] = set()
        self._found: Facts | None = None
        """What the first worker of this run found; what was found in an earlier one may hold no longer."""

    def start(self, worker: WorkerState) -> None:
        """Begin to start a worker; raises ``WorkerError`` where none is left that can be started."""
        try:
            worker.make()
        except WorkerError as error:
            self._failed(worker, error)
        self._prepare()

    def hear(self, worker: WorkerState, timeout: float) -> None:
        """Take a worker that has come up."""
        try:
            facts = worker.end_start(timeout)
        except WorkerError as error:
            self._failed(worker, error)
            self._prepare()
            return
        except LoratuneError as error:
            others = any(not one.given_up for one in self._workers if one is not worker)
            if self._found is None or not others:
                raise
            # Model and data are as another worker found them, so it is this one's device that is different.
            self._failed(worker, DeviceLost(str(error)))
            self._prepare()
            return
        if facts is not None:
            self.check(worker, facts)
            self._prepare()

    def check(self, worker: WorkerState, facts: Facts) -> None:
        """Hold what a worker found against the study; note once what another machine or build changes."""
        state = self._state
        changes = compare_facts(state.facts, facts)
        state.complete_facts(facts)
        self._found = self._found or facts
        self._announcer.tell(WorkerStarted(worker=worker.index))
        if not self.known:
            self.known = True
            self._say_resumed()
        if not changes or changes in self._checked:
            return
        self._checked.add(changes)
        state.store.add_event(state.study.id, "environment", worker=worker.index, changes=list(changes))
        self._announcer.tell(made_elsewhere(changes))

    def _prepare(self) -> None:
        """Let those that are there begin: one, until that one has found what the others are told."""
        for worker in self._workers:
            if self._found is None and any(one.preparing for one in self._workers):
                return
            if worker.made:
                worker.begin_start(self._found)

    def _failed(self, worker: WorkerState, error: WorkerError) -> None:
        """Start a worker again that did not come up, and go on without it in the end."""
        self._recovery.start_failed(worker, error)
        if not worker.given_up:
            self.start(worker)
        elif all(one.given_up for one in self._workers):
            if isinstance(error, OutOfMemory):
                raise error
            raise WorkerError(f"no worker can be started: {error}") from error

    def _say_resumed(self) -> None:
        """Say that a study which has trials goes on."""
        state = self._state
        if not state.trials:
            return
        running, waiting = state.running(), tuple(sorted(state.waiting()))
        state.store.add_event(state.study.id, "resumed", running=list(running))
        self._announcer.tell(
            StudyResumed(
                ended=len(state.trials) - len(running),
                running=state.going(),
                waiting=waiting,
                trials=state.study.trials,
            )
        )
