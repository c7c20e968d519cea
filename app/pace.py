"""How fast a search of this model and data went before, on this device: better known than any estimate."""

from __future__ import annotations

import dataclasses

from ..errors import StorageError
from ..storage.store import Store
from ..study.facts import Facts
from ..study.metric import METRICS, MetricName
from .earlier import same_model


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
    """What was measured."""

    study: str
    """Of which study."""
    examples_per_second: float
    """Training examples over the seconds of its runs: all workers together, with evaluation and starts."""


def measured_pace(store: Store, facts: Facts, metric: MetricName) -> Pace | None:
    """Return the pace of the latest search of the same model and data on such a device; None without one.

    One that measured something else than is selected by took another time for its evaluations.
    """
    for study_id in reversed(store.study_ids()):
        try:
            study = store.study(store.head(study_id).name)
        except StorageError:
            continue  # who plans another study has no need to know; tune db check says more
        known = study.facts
        if study.config.stage is not None or not _as_fast(known, facts):
            continue
        if METRICS[study.config.objective.metric].needs != METRICS[metric].needs:
            continue
        events = store.events(study.id)
        ended = [event for event in events if event.kind in ("finished", "interrupted")]
        if len(ended) <= sum(event.kind == "resumed" for event in events):
            continue  # a run of it was killed, or goes on now, and nobody knows for how long it trained
        seconds = sum(float(event.detail["seconds"]) for event in ended)
        rounds = sum(trial.rounds for trial in store.trials(study.id))
        if seconds > 0 and rounds:
            examples = rounds * known.budget.round_examples
            return Pace(study=study.name, examples_per_second=examples / seconds)
    return None


def _as_fast(one: Facts, other: Facts) -> bool:
    """Return whether two studies train the same model on the same data, held alike on such a device."""
    mine, theirs = one.model, other.model
    return (
        same_model(mine, theirs)
        and one.data.fingerprint == other.data.fingerprint
        and (mine.device_name, mine.bits) == (theirs.device_name, theirs.bits)
        and one.geometry.dtype == other.geometry.dtype
    )
