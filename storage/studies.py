"""Rows of studies, inside the caller's transaction: made, found by name, and changed in what may change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import func, insert, select, update

from ..errors import StudyExists, StudyNotFound, nearest
from ..study.records import StudyRecord
from . import deletion, foreign, queries, rows, seals, study_files, tables

if TYPE_CHECKING:
    from ..study.facts import Facts
    from ..study.study_config import StudyConfig


def create(
    connection: sqlalchemy.Connection,
    shown: str,
    artifacts: Path,
    *,
    name: str,
    trials: int,
    config: StudyConfig,
    facts: Facts,
) -> None:
    """Make a study and its folder.

    Args:
        connection: inside a transaction that holds the write lock.
        shown: the database, for messages.
        artifacts: the folder of all studies' files.
        name: its name, which must be free in our tables and in Optuna's.
        trials: how many it is to have in all.
        config: what it is.
        facts: what was found for it.

    Raises:
        StudyExists: the name is taken.
        StudyNotFound: the study that it follows from is not there.
        StorageError: the name is none.
    """
    if queries.head(connection, name) is not None:
        raise StudyExists(
            f"study {name!r}: exists in {shown}; tune resume {name} goes on with it, "
            "or choose another name with --study"
        )
    if queries.optuna_has(connection, name):
        raise foreign.taken_in_optuna(name, shown)
    rows.check_name(name)  # one that is there already may be of an older, laxer rule
    if config.stage is not None:
        deletion.check_parent(connection, shown, name, config.stage.parent)
    largest = connection.execute(select(func.max(tables.studies.c.id))).scalar() or 0
    least = max(largest, deletion.largest_number(connection)) + 1
    study_id = study_files.reserve(artifacts, least)
    at = rows.now()
    row = {"id": study_id, "name": name, "created_at": at, "touched_at": at}
    row |= {"trials": trials, "seed": config.seed}
    row |= {"config": config.to_json(), "facts": facts.to_json()}
    connection.execute(insert(tables.studies).values(row))
    seals.put(connection, tables.studies, tables.studies.c.id == study_id)


def find(connection: sqlalchemy.Connection, shown: str, name: str | None) -> StudyRecord:
    """Return a study by its name, or the one last worked on; raises ``StudyNotFound``."""
    found = queries.study(connection, name)
    if found is not None:
        return found
    known = queries.names(connection)
    if not known:
        raise StudyNotFound(f"{shown}: holds no study yet; tune search makes one")
    raise StudyNotFound(f"study {name!r}: not in {shown}{nearest(str(name), known)}; tune list shows what is")


def change(connection: sqlalchemy.Connection, study_id: int, **values: Any) -> None:
    """Write other values into a study's row."""
    queries.head_of(connection, study_id)  # refused where it is damaged
    chosen = tables.studies.c.id == study_id
    connection.execute(update(tables.studies).where(chosen).values(values))
    seals.put(connection, tables.studies, chosen)
