"""A worker on its way up: ``prepare`` takes seconds to minutes, and the others must not wait for it."""

from __future__ import annotations

import threading

from ..objectives.base import Worker
from ..study.config import ObjectiveConfig
from ..study.facts import Facts


class Preparation:
    """Runs ``worker.prepare`` beside the search; nobody else may touch the worker until it is over."""

    def __init__(self, worker: Worker, config: ObjectiveConfig) -> None:
        self._worker = worker
        self._config = config
        self._facts: Facts | None = None
        self._error: BaseException | None = None
        # A daemon: a prepare that never returns must not keep a finished search from exiting.
        self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._facts = self._worker.prepare(self._config)
        # Whatever it was belongs to the caller of result().
        except BaseException as error:
            self._error = error

    def wait(self, timeout: float) -> bool:
        """Return whether it is over, waiting for it at most ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self) -> Facts:
        """Return what the worker found, or raise what it raised; only once it is over."""
        if self._error is not None:
            raise self._error
        assert self._facts is not None, "the preparation is not over"
        return self._facts
