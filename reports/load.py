"""From the store to a view: the only place of this room that reads a database."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Literal

from ..errors import StorageError
from ..storage.numbered import numbered
from ..storage.store import Store
from ..study.budget import ROUNDS
from ..study.locked_set import KIND, opening_of
from ..study.records import StudyRecord
from ..study.stage import child_name
from .confirm_facts import ConfirmView
from .view import FullRunOf, Slowed, StudyView


def load_view(store: Store, name: str | None = None) -> StudyView:
    """Return everything on a study (None: the latest), also while a search writes it.

    Trials are read first: what is read after them can only know more of each, and is taken by trial.
    """
    study = store.study(name)
    lease = store.lease(study.id)
    trials = store.trials(study.id)
    return StudyView(
        study=study,
        trials=trials,
        curve=store.curve(study.id),
        evaluations=store.final_evaluations(study.id),
        events=store.events(study.id),
        live=lease is not None and lease.alive,
        confirmations=tuple(load_confirmation(store, one) for one in confirming(store, study)),
        full_runs=tuple(_full_runs(store, study)),
        last_step=_last_step(store, study),
        slowed={trial.number: found for trial in trials if (found := slowed(store, study, trial.number))},
    )


def slowed(store: Store, study: StudyRecord, trial: int) -> Slowed | None:
    """Return at which share of its first learning rate a trial was trained in the end; None: at all of it.

    A climb may lower the rate in any of its steps, and what is trained or confirmed from there on keeps it.
    Where a study below cannot be read, nothing is told.
    """
    found, number, rates = study, trial, list[float]()
    while found.config.stage is not None and number < len(found.config.stage.entries):
        entry = found.config.stage.entries[number]
        rates, number = [*rates, entry.rate], entry.trial
        try:
            found = store.study(found.config.stage.parent)
        except StorageError:
            return None
    rate = math.prod(rates)
    if rate == 1.0:
        return None
    below = any(one != 1.0 for one in rates[1:])
    return Slowed(study=found.name, trial=number, rate=rate, below=below)


def _last_step(store: Store, study: StudyRecord) -> str | None:
    """Return the last step of a search that climbs, where a study is that search or a lower step."""
    if study.config.ladder is None and (study.config.stage is None or study.config.stage.kind != "longer"):
        return None
    above: dict[str, str] = {}
    for study_id in store.study_ids():
        with contextlib.suppress(StorageError):  # one that cannot be read hides no other
            origin, name = store.origin(study_id), store.head(study_id).name
            if origin.kind == "longer" and origin.parent is not None:
                above[origin.parent] = name
    last = study.name
    while last in above:
        last = above[last]
    return None if last == study.name else last


def confirming(store: Store, study: StudyRecord) -> Iterator[StudyRecord]:
    """Yield the studies that confirm a study, the first first; of one that confirms another, itself."""
    if study.config.stage is not None and study.config.stage.kind == "confirm":
        yield study
        return
    yield from _following(store, study, "confirm")


def _following(store: Store, study: StudyRecord, kind: Literal["confirm", "train"]) -> Iterator[StudyRecord]:
    """Yield the studies of a kind that follow from a study, the first first."""
    for _, found in numbered(store, lambda number: child_name(study.name, kind, number)):
        if found is not None and found.follows(kind, study.name):
            yield found


def _full_runs(store: Store, study: StudyRecord) -> Iterator[FullRunOf]:
    """Yield the trials of a study that others trained at full length, to the end."""
    for found in _following(store, study, "train"):
        stage = found.config.stage
        assert stage is not None, "it follows from a study"
        for trial in store.trials(found.id):
            if trial.state == "complete" and trial.value is not None:
                yield FullRunOf(study=found.name, trial=stage.entries[trial.number].trial, loss=trial.value)


def load_confirmation(store: Store, study: StudyRecord) -> ConfirmView:
    """Return what a study that confirms another has of it."""
    stage = study.config.stage
    assert stage is not None, "it follows from no study"
    lease = store.lease(study.id)
    searched = store.trials(store.study(stage.parent).id) if store.holds(stage.parent) else ()
    return ConfirmView(
        study=study,
        trials=store.trials(study.id),
        evaluations=store.evaluations(study.id, ROUNDS),
        openings=tuple(opening_of(event) for event in store.events(study.id, KIND)),
        searched={trial.number: trial.value for trial in searched if trial.value is not None},
        live=lease is not None and lease.alive,
        searched_scores={trial.number: trial.score for trial in searched if trial.score is not None},
    )
