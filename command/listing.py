"""The list of all studies: values for ``--json``, a table for people.

A study that cannot be read hides no other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Sequence
from typing import Any

from rich.table import Table

from ..errors import StorageError
from ..storage.store import Store
from ..study.format import show_bytes, show_count, show_loss, show_state
from ..study.pruners import STOP_RUNGS
from ..study.ranking import best_trial
from ..study.records import FINAL_STATES, NOT_ENDED, Standing, StudyHead, TrialRecord, count_ended
from ..study.waiting import rung_losses, waiting
from . import console
from .relations import relate, relation_words

NAMED = 5
"""Studies that are named of those that cannot be listed; the others are counted."""


def study_rows(store: Store) -> tuple[list[dict[str, Any]], StorageError | None]:
    """Return what ``tune list`` says of each study that can be read, and what it says of the others."""
    rows: list[dict[str, Any]] = []
    failed, steps = [], {}
    for study_id in store.study_ids():
        what = f"the study in {store.study_dir(study_id)}"
        try:
            head = store.head(study_id)
            what = f"study {head.name!r}"
            rows.append(study_row(store, head))
            steps[head.name] = store.origin(study_id).steps
        except StorageError as error:
            failed.append((what, error))
    relate(store, rows, steps)
    if not failed:
        return rows, None
    which = ", ".join(what for what, _ in failed[:NAMED])
    which += f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    return rows, StorageError(f"{which} cannot be listed: {failed[0][1]}")


def study_row(store: Store, study: StudyHead) -> dict[str, Any]:
    """Return what ``tune list`` says of a study."""
    trials = store.trials(study.id)
    waits = _waiting(store, study, trials)
    states = counted_states(trials, waits)
    best = best_trial(trials)
    lease = store.lease(study.id)
    origin = store.origin(study.id)
    return {
        "study": study.name,
        "kind": origin.kind,
        "follows": origin.parent,
        "search": None,
        "goes_on_with": None,
        "trials": study.trials,
        "ended": count_ended(states),
        "states": states,
        "best": None if best is None else best.value,
        "best_trial": None if best is None else best.number,
        "score": None if best is None else best.score,
        "owner": f"pid {lease.pid} on {lease.host}" if lease is not None and lease.alive else None,
        "disk_bytes": store.disk_bytes(study.id),
        "created": study.created_at.isoformat(),
    }


def counted_states(trials: Sequence[TrialRecord], waits: Container[int]) -> dict[Standing, int]:
    """Return how many trials stand where, ended ones first as in a search's own line.

    The order is not that of the trials, in which it would change from one look to the next.
    """
    stand = ["waiting" if trial.number in waits else trial.state for trial in trials]
    return {state: stand.count(state) for state in (*FINAL_STATES, *NOT_ENDED) if state in stand}


def _waiting(store: Store, study: StudyHead, trials: Sequence[TrialRecord]) -> Container[int]:
    """Return which trials wait for a place, where any may."""
    if not any(trial.state == "running" and trial.rounds in STOP_RUNGS for trial in trials):
        return ()
    with contextlib.suppress(StorageError):  # a list goes without what this version cannot read
        pruner = store.study(study.name).config.pruner
        if pruner.pausing:
            return waiting(trials, rung_losses(store.curve(study.id)), pruner)
    return ()


def study_table(rows: Sequence[dict[str, Any]], width: int) -> Table:
    """Return the table of ``tune list`` for a terminal of that width."""
    # By what it is selected where that is not the loss.
    score = ("score",) if any(row["score"] is not None for row in rows) else ()
    related = [relation_words(row) for row in rows]
    follows = ("follows",) if any(related) else ()
    return console.table(
        (
            "study",
            *follows,
            "trials",
            "best",
            *(("score",) if score else ()),
            "outcomes",
            "owner",
            "disk",
            "created",
        ),
        (
            (
                row["study"],
                *((words,) if follows else ()),
                f"{show_count(row['ended'])}/{show_count(row['trials'])}",
                show_loss(row["best"]),
                *((show_loss(row["score"]),) if score else ()),
                ", ".join(
                    f"{show_count(count)} {show_state(state, live=row['owner'] is not None)}"
                    for state, count in row["states"].items()
                ),
                row["owner"] or "–",
                show_bytes(row["disk_bytes"]),
                row["created"][:16].replace("T", " "),
            )
            for row, words in zip(rows, related, strict=True)
        ),
        width=width,
        right=("trials", "best", *score, "disk"),
        folding=("follows", "outcomes", "owner"),
        lesser={"follows": 1, "disk": 2, "created": 3},
    )


def disk_line(store: Store) -> str:
    """Return what all studies take on disk: the database, and the folder that they share."""
    database = store.database_bytes()
    in_file = "" if database is None else f"database {show_bytes(database)}, "
    folder = show_bytes(store.artifacts_bytes())
    return f"in all: {in_file}{store.artifacts.name} {folder} (checkpoints, adapters, cache, logs)"
