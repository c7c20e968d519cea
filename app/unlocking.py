"""The locked test set is looked at: kept adapters are measured on it, and what was found is recorded.

The record is one event, written when all numbers are there: an interruption leaves the set closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import WorkerError
from ..integrations.peft import why_unusable
from ..objectives.base import Evaluated, WorkerFailed
from ..objectives.workers.process import ProcessWorker
from ..storage.store import Store
from ..study.locked_set import KIND, detail_of
from ..study.records import Evaluation, StudyRecord, TrialRecord
from . import retraining
from .settling import scratch
from .study_worker import study_worker


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
        with study_worker(store, study, "test.log") as worker, scratch() as folder:
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
