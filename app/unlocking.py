"""The locked test set is looked at: kept adapters are measured on it, and what was found is recorded.

The record is one event, written when all numbers are there: an interruption leaves the set closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import WorkerError
from ..integrations.peft import why_unusable
from ..objectives.base import Evaluated, WorkerFailed
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import compare_facts, objective_of
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS
from ..study.locked_set import KIND, detail_of
from ..study.records import Evaluation, StudyRecord, TrialRecord
from . import retraining
from .places import find_places, threads_on
from .running import machine_now
from .settling import scratch
from .workers import make_worker


def times_opened(store: Store, fingerprint: str) -> int:
    """Return how often the test set of these data was looked at, by whichever study of the database."""
    events = (event for head in store.studies() for event in store.events(head.id, KIND))
    return sum(event.detail.get("data") == fingerprint for event in events)


def open_test(
    store: Store,
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    *,
    recommended: int,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Measure the adapters of trials on the test set, and record it with the study.

    Raises ``LoratuneError`` where model or data have changed, or a worker cannot measure.
    """
    store.acquire(study.id)
    try:
        with _worker(store, study) as worker, scratch() as folder:
            found = {}
            for trial in trials:
                adapter = _adapter(store, study, trial, folder, tell)
                worker.evaluate(adapter, trial.params, "test")
                found[trial.number] = _answer(worker)
        data = study.facts.data.fingerprint
        detail = detail_of(times_opened(store, data) + 1, recommended, data, found)
        store.add_event(study.id, KIND, **detail)
    finally:
        store.release(study.id)


@contextlib.contextmanager
def _worker(store: Store, study: StudyRecord) -> Iterator[ProcessWorker]:
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=1)
    device = find_places(objective.model.device, study.facts, machine_now(study.facts)).device(0)
    precheck(objective, sized=False)
    log = store.artifacts / LOGS / "test.log"
    worker = make_worker(0, log, threads=threads_on(study.facts.model.device), device=device)
    try:
        compare_facts(study.facts, worker.prepare(objective))
        yield worker
    finally:
        worker.close()


def _adapter(
    store: Store, study: StudyRecord, trial: TrialRecord, folder: Path, tell: Callable[[str], None]
) -> Path:
    """Return the file of a trial's adapter; one that is lost or damaged is made again, and put back."""
    assert trial.adapter is not None, "every adapter of such a study is kept"
    kept = store.study_dir(study.id) / trial.adapter
    why = why_unusable(kept, trial)
    if why is None:
        return kept
    tell(f"the adapter of trial {trial.number} of {study.name} {why}; training it again …")
    again = retraining.train_again(store, study, trial, folder)
    tell(retraining.put_back(store, study, trial, again))
    return again


def _answer(worker: ProcessWorker) -> Evaluation:
    event = worker.poll(1.0)
    while not isinstance(event, Evaluated):
        if isinstance(event, WorkerFailed):
            raise WorkerError(f"the test set could not be measured: {event.reason}")
        event = worker.poll(1.0)
    return Evaluation(losses=np.asarray(event.losses, np.float32), tokens=np.asarray(event.tokens, np.int64))
