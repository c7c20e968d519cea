"""Patience with another program that holds the database; the workers train on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import StorageError
from ..study.sentences import database_locked
from .interrupt import StopSignal
from .limits import Limits
from .progress import Announcer
from .worker_state import WorkerState

NEWS_AGAIN = 30.0
"""Seconds until it is said again that the database is locked."""


class LockPatience:
    """Waits, says so now and then, and ends where the search was asked to end."""

    def __init__(
        self,
        url: str,
        workers: Sequence[WorkerState],
        announcer: Announcer,
        stop: StopSignal,
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self.lasted = False
        """Whether the search ended because the lock lasted: then nothing more is written."""
        self._url = url
        self._workers = workers
        self._announcer = announcer
        self._stop = stop
        self._limits = limits
        self._now = clock
        self._told = 0.0

    def wait(self, waited: float) -> None:
        """Bear with a lock that has been waited for so long.

        Raises ``StorageError`` where the search was asked to end and the lock outlasts its patience.
        """
        for worker in self._workers:
            worker.excuse(self._now())
        if waited < self._told:
            self._told = 0.0
        if waited >= self._told + (NEWS_AGAIN if self._told else self._limits.lock_news):
            self._told = waited
            self._announcer.tell(database_locked(self._url, waited))
        asked = self._stop.immediate or (self._stop.requested and waited > self._limits.grace)
        if self.lasted or asked:
            self.lasted = True
            raise StorageError(
                f"{self._url}: was still locked by another program when the search was asked to end; "
                "close that program, then tune resume goes on from the last boundary"
            )
