"""From the store to a view: the only place of this room that reads a database."""

from __future__ import annotations

from ..storage.store import Store
from .view import StudyView


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
    )
