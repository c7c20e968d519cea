"""The locked test set is looked at: kept adapters are measured on it, and what was found is recorded.

The record is one event, written when all numbers are there: an interruption leaves the set closed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..metrics.scoring import score_of
from ..objectives.base import Evaluated
from ..search.measure import as_evaluation
from ..storage.store import Store
from ..study.facts import Answers
from ..study.locked_set import KIND, detail_of
from ..study.records import StudyRecord, TrialRecord
from . import retraining
from .settling import scratch
from .study_worker import answer_of, study_worker

OTHER = "another answer"
"""What stands for answers of the test set that are no label: whatever is predicted for them is wrong."""


def times_opened(store: Store, fingerprint: str) -> int:
    """Return how often the test set of these data was looked at, by whichever study of the database.

    Studies that are deleted by now count as well.
    """
    events = (event for head in store.studies() for event in store.events(head.id, KIND))
    seen = sum(bool(event.detail.get("data") == fingerprint) for event in events)
    return seen + store.deletions.looks(fingerprint)


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
            found, scores, answers = {}, {}, Answers()
            for trial in trials:
                adapter = _adapter(store, study, trial, folder, tell)
                worker.evaluate(adapter, trial.params, "test")
                answer = answer_of(worker, Evaluated, "the test set could not be measured")
                found[trial.number] = as_evaluation(answer.losses, answer.tokens, answer.measures)
                answers = Answers(labels=_labels(study, answer.right), of_examples=answer.right)
                score = score_of(study.config.objective.metric, found[trial.number], answers)
                if score is not None:
                    scores[trial.number] = score
        data = study.facts.data.fingerprint
        detail = detail_of(times_opened(store, data) + 1, recommended, data, found, answers, scores)
        store.add_event(study.id, KIND, **detail)
    finally:
        store.release(study.id)


def _labels(study: StudyRecord, right: Sequence[int]) -> tuple[str, ...]:
    """Return the study's labels, and one more where a test example's answer is none of them."""
    names = study.facts.answers.labels if right else ()
    return (*names, OTHER) if any(place >= len(names) for place in right) else names


def _adapter(
    store: Store, study: StudyRecord, trial: TrialRecord, folder: Path, tell: Callable[[str], None]
) -> Path:
    """Return the file of a trial's adapter; one that is lost or damaged is made again, and put back."""
    if (why := retraining.why_gone(store, study, trial)) is None:
        return retraining.kept_file(store, study, trial)
    tell(f"the adapter of trial {trial.number} of {study.name} {why}; training it again …")
    return retraining.made_again(store, study, trial, folder, tell)
