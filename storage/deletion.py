"""Deleting studies, inside the caller's transaction: their rows, Optuna's copies, and a note that they were.

The note stays: no later study gets the number of a deleted one, so that a process that lost a study long ago
cannot write into another; looks at a test set count on; and files that an interruption left are known to be
nobody's. Deletes no file: that is deleted_files.py's matter.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import Text, delete, func, insert, select, type_coerce, update

from ..errors import StudyBusy, StudyNotFound, nearest
from . import leases, migrations, ownership, queries, rows, tables
from .progress_note import Progress
from .to_optuna import LAYOUT_NOTE, NUMBER, names

_OF_A_STUDY = (tables.evaluations, tables.curve, tables.trials, tables.events, tables.leases)
"""Whose rows are of a study, in the order in which they may be deleted."""

OPTUNA_OF_A_TRIAL = (
    "trial_heartbeats",
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
)
"""Optuna's tables with what is of a trial. A user's own tables may be named alike, and are left alone."""
OPTUNA_OF_A_STUDY = ("study_directions", "study_system_attributes", "study_user_attributes")
"""Optuna's tables with what is of a study."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deleted:
    """A study that is there no more."""

    id: int
    """The number that it had, which no other study gets."""
    name: str
    """Its name."""
    created_at: str
    """When it was made, as its row had it."""
    progress: Progress | None
    """How far it was; None where only its note is left."""
    kept_copy: str | None
    """The study in Optuna's tables that was left, since it holds trials of others; None where none was."""


def parents(connection: sqlalchemy.Connection) -> dict[str, str | None]:
    """Return the name of every study, and of the one that it follows from; also where its row is damaged."""
    table = tables.studies
    found = connection.execute(select(table.c.name, type_coerce(table.c.config, Text)).order_by(table.c.id))
    return {name: _parent(config) for name, config in found}


def check_parent(connection: sqlalchemy.Connection, shown: str, name: str, parent: str) -> None:
    """Raise ``StudyNotFound`` where the study that a new one would follow from is not there any more."""
    table = tables.studies
    if connection.execute(select(table.c.id).where(table.c.name == parent)).first() is None:
        raise StudyNotFound(
            f"study {name!r}: {parent!r}, which it follows from, is not in {shown} any more; nothing was "
            f"made; make {parent} again with tune search, or choose another that tune list shows"
        )


def following(parents_of: Mapping[str, str | None], name: str) -> tuple[str, ...]:
    """Return the studies that follow from one, and those that follow from these, oldest first.

    >>> following({"a": None, "a.longer": "a", "b": None, "a.confirm": "a.longer"}, "a")
    ('a.longer', 'a.confirm')
    """
    found = {name}
    while more := {one for one, parent in parents_of.items() if parent in found} - found:
        found |= more
    return tuple(one for one in parents_of if one in found and one != name)


def delete_studies(
    connection: sqlalchemy.Connection,
    shown: str,
    chosen: Sequence[str],
    *,
    agreed: Collection[int] | None,
    leave_files: bool,
) -> tuple[Deleted, ...]:
    """Delete studies by name, all or none.

    Args:
        connection: inside a transaction that holds the write lock.
        shown: the database, for messages.
        chosen: their names.
        agreed: the numbers that they had when the user agreed; None: whichever they have.
        leave_files: whether what an interruption leaves of their files is not looked for later.

    Raises:
        StudyNotFound: one is not there.
        StudyBusy: a process that may be alive trains one, a study that is none of them follows from one, or
            one is another by now than what was agreed to.
    """
    found = find(connection, shown, chosen)
    for study in found:
        if agreed is not None and study.id not in agreed:
            raise StudyBusy(
                f"study {study.name!r}: was deleted meanwhile and another one made under its name; "
                "nothing was deleted, try again"
            )
    _check_followers(parents(connection), chosen)
    return tuple(_delete(connection, study, leave_files=leave_files) for study in found)


def find(connection: sqlalchemy.Connection, shown: str, chosen: Sequence[str]) -> tuple[Deleted, ...]:
    """Return studies as they would be deleted; raises what ``delete_studies`` would."""
    table, found = tables.studies, []
    for name in chosen:
        query = select(table.c.id, type_coerce(table.c.created_at, Text)).where(table.c.name == name)
        row = connection.execute(query).first() if name.isprintable() else None
        if row is None:
            known = connection.execute(select(table.c.name)).scalars()
            raise StudyNotFound(
                f"study {name!r}: not in {shown}{nearest(name, known)}; tune list shows what is"
            )
        number = int(row[0])
        _check_free(connection, number, name)
        progress = queries.progress(connection, number)
        found.append(Deleted(id=number, name=name, created_at=str(row[1]), progress=progress, kept_copy=None))
    return tuple(found)


def _check_followers(parents_of: Mapping[str, str | None], chosen: Sequence[str]) -> None:
    """Raise ``StudyBusy`` where a study would lose the one that it follows from."""
    for name, parent in parents_of.items():
        if parent in chosen and name not in chosen:
            raise StudyBusy(
                f"study {parent!r}: {name} follows from it, and was made meanwhile; "
                "nothing was deleted, try again"
            )


def _delete(connection: sqlalchemy.Connection, study: Deleted, *, leave_files: bool) -> Deleted:
    note: dict[str, Any] = {"id": study.id, "name": study.name, "created_at": study.created_at}
    note |= {"deleted_at": rows.now(), "opened": _opened(connection, study.id)}
    connection.execute(insert(tables.deleted).values(**note, has_files=0 if leave_files else 1))
    for table in _OF_A_STUDY:
        connection.execute(delete(table).where(table.c.study_id == study.id))
    connection.execute(delete(tables.studies).where(tables.studies.c.id == study.id))
    return dataclasses.replace(study, kept_copy=_delete_copy(connection, study.name))


def largest_number(connection: sqlalchemy.Connection) -> int:
    """Return the largest number that a deleted study had; 0 where none was deleted."""
    return int(connection.execute(select(func.max(tables.deleted.c.id))).scalar() or 0)


def times_opened(connection: sqlalchemy.Connection, fingerprint: str) -> int:
    """Return how often studies that are deleted had looked at the test set of these data."""
    if not _is_known(connection):
        return 0
    found = connection.execute(select(tables.deleted.c.opened)).scalars()
    return sum(opened.count(fingerprint) for opened in found)


def unfinished(connection: sqlalchemy.Connection) -> tuple[Deleted, ...]:
    """Return the deleted studies whose files may still be there."""
    if not _is_known(connection):
        return ()
    table = tables.deleted
    query = select(table.c.id, table.c.name, table.c.created_at).where(table.c.has_files == 1)
    return tuple(
        Deleted(id=number, name=name, created_at=created_at, progress=None, kept_copy=None)
        for number, name, created_at in connection.execute(query.order_by(table.c.id))
    )


def forget_files(connection: sqlalchemy.Connection, study_id: int) -> None:
    """Note that a deleted study has no files any more."""
    table = tables.deleted
    connection.execute(update(table).where(table.c.id == study_id).values(has_files=0))


def _is_known(connection: sqlalchemy.Connection) -> bool:
    """Return whether the database has notes of what was deleted; one that is only read may be older."""
    version = connection.get_execution_options().get("version", migrations.LATEST)
    return bool(version >= tables.DELETED_SINCE)


def _parent(config: Any) -> str | None:
    """Return the study that a stored configuration says that it follows from."""
    try:
        return str(json.loads(config)["stage"]["parent"])
    except (ValueError, TypeError, KeyError):
        return None


def _opened(connection: sqlalchemy.Connection, study_id: int) -> list[str]:
    """Return the fingerprint of the data at each look at a test set; a damaged event tells of none."""
    from ..study.locked_set import KIND  # it loads numpy, which tune list need not wait for

    table = tables.events
    query = select(type_coerce(table.c.detail, Text)).where(
        table.c.study_id == study_id, table.c.kind == KIND
    )
    found = []
    for detail in connection.execute(query).scalars():
        try:
            found.append(str(json.loads(detail)["data"]))
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _check_free(connection: sqlalchemy.Connection, study_id: int, name: str) -> None:
    owner, _ = ownership.read(connection, study_id)
    if owner is None:
        return
    standing = leases.standing(owner, leases.here(), leases.running)
    if standing == "alive":
        raise StudyBusy(
            f"study {name!r}: process {owner.pid} on this machine ({owner.host}) is running it; interrupt it "
            "first, then delete it; nothing was deleted"
        )
    if standing == "elsewhere":
        raise StudyBusy(
            f"study {name!r}: owned by process {owner.pid} on host {owner.host!r}, which cannot be seen from "
            f"here; end it there, or if it is gone, take it over with tune resume {name} --take-over and "
            "interrupt that; nothing was deleted"
        )


def _delete_copy(connection: sqlalchemy.Connection, name: str) -> str | None:
    """Delete Optuna's copy of a study; return its name where it was left for the trials of others in it."""
    inspector = sqlalchemy.inspect(connection)
    known = {table for table in inspector.get_table_names() if not table.startswith("tune_")}
    if not {"studies", "trials", "trial_user_attributes", "study_user_attributes"} <= known:
        return None
    for one in names(name):
        query = sqlalchemy.text("SELECT study_id FROM studies WHERE study_name = :name")
        study_id = connection.execute(query, {"name": one}).scalar()
        if study_id is None:
            continue
        of_it = {"id": study_id, "key": NUMBER, "note": LAYOUT_NOTE}
        every, ours, noted = connection.execute(
            sqlalchemy.text(
                "SELECT (SELECT count(*) FROM trials WHERE study_id = :id), "
                "(SELECT count(*) FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
                "AND a.key = :key WHERE t.study_id = :id), "
                "(SELECT count(*) FROM study_user_attributes WHERE study_id = :id AND key = :note)"
            ),
            of_it,
        ).one()
        if not noted and not ours:
            continue  # a study of the user's own that has the name
        if every != ours:
            return one
        for table in (part for part in OPTUNA_OF_A_TRIAL if part in known):
            which = "trial_id IN (SELECT trial_id FROM trials WHERE study_id = :id)"
            connection.execute(sqlalchemy.text(f"DELETE FROM {table} WHERE {which}"), of_it)
        parts = (part for part in OPTUNA_OF_A_STUDY if part in known)
        for table in ("trials", *parts, "studies"):
            connection.execute(sqlalchemy.text(f"DELETE FROM {table} WHERE study_id = :id"), of_it)
        return None
    return None
