"""One worker of a study, for what is done beside its search: a trial trained again, adapters measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TypeVar

from ..errors import WorkerError
from ..objectives.base import Evaluated, Generated, WorkerFailed
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import compare_facts, objective_of
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS
from ..study.records import StudyRecord
from .places import find_places, threads_on
from .running import machine_now
from .workers import make_worker

Answer = TypeVar("Answer", Evaluated, Generated)


@contextlib.contextmanager
def study_worker(store: Store, study: StudyRecord, log: str) -> Iterator[ProcessWorker]:
    """Start a worker of one slot with a study's model and data, and close it afterwards.

    Raises ``LoratuneError`` where it cannot be had, or model or data have changed.

    Args:
        store: where the study is.
        study: the study.
        log: name of the file that the worker logs to, in the folder of logs.
    """
    facts = study.facts
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=1)
    # Where the study trained, not where this machine would train by default.
    device = find_places(objective.model.device, facts, machine_now(facts)).device(0)
    precheck(objective, sized=False)
    worker = make_worker(0, store.artifacts / LOGS / log, threads=threads_on(device), device=device)
    try:
        compare_facts(facts, worker.prepare(objective))
        yield worker
    finally:
        worker.close()


def answer_of(worker: ProcessWorker, kind: type[Answer], failing: str) -> Answer:
    """Wait for what a worker was asked for; ``failing`` begins the ``WorkerError`` where it cannot say."""
    event = worker.poll(1.0)
    while not isinstance(event, kind):
        if isinstance(event, WorkerFailed):
            raise WorkerError(f"{failing}: {event.reason}")
        event = worker.poll(1.0)
    return event
