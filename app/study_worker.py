"""One worker of a study, for what is done beside its search: a trial trained again, adapters measured."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import compare_facts, objective_of
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS
from ..study.records import StudyRecord
from .places import find_places, threads_on
from .running import machine_now
from .workers import make_worker


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
