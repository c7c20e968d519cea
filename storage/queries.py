"""Reading the record, inside the caller's transaction: rows out of the tables, as records.

Changes nothing; what is written is written by trial_writes.py, ownership.py and the store.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy import func, select

from ..study.budget import ROUNDS
from ..study.records import (
    CurvePoint,
    Evaluation,
    EventRecord,
    Origin,
    StudyHead,
    StudyRecord,
    TrialRecord,
)
from . import database_errors, migrations, rows, tables
from .progress_note import Progress

AT_ONCE = 5_000
"""So many values are named in one statement: SQLite takes 32,766 variables, and a key has up to four."""

_Value = TypeVar("_Value")


def studies(connection: sqlalchemy.Connection) -> tuple[StudyHead, ...]:
    """Return the head of every study, oldest first."""
    query = whole_rows(connection, tables.studies).order_by(tables.studies.c.id)
    return tuple(rows.head(row) for row in connection.execute(query).mappings())


def head(connection: sqlalchemy.Connection, name: str | None) -> StudyHead | None:
    """Return the head of a study by its name, or of the one last worked on; None where there is none."""
    row = _study(connection, name)
    return None if row is None else rows.head(row)


def study(connection: sqlalchemy.Connection, name: str | None) -> StudyRecord | None:
    """Return a study by its name, or the one last worked on; None where there is none."""
    row = _study(connection, name)
    return None if row is None else rows.study(row)


def _study(connection: sqlalchemy.Connection, name: str | None) -> sqlalchemy.RowMapping | None:
    table = tables.studies
    if name is None:
        query = whole_rows(connection, table).order_by(table.c.touched_at.desc(), table.c.id.desc()).limit(1)
    elif not name.isprintable():
        return None  # no study has such a name, and a driver may not take it
    else:
        query = whole_rows(connection, table).where(table.c.name == name)
    return connection.execute(query).mappings().first()


def head_of(connection: sqlalchemy.Connection, study_id: int) -> StudyHead:
    """Return the head of a study that is there by its id."""
    query = whole_rows(connection, tables.studies).where(tables.studies.c.id == study_id)
    return rows.head(connection.execute(query).mappings().one())


def origin_of(connection: sqlalchemy.Connection, study_id: int) -> Origin:
    """Return what a study that is there follows from, by its id."""
    query = whole_rows(connection, tables.studies).where(tables.studies.c.id == study_id)
    return rows.origin(connection.execute(query).mappings().one())


def ids(connection: sqlalchemy.Connection) -> tuple[int, ...]:
    """Return the id of every study, oldest first; whatever else of it may be damaged."""
    return tuple(connection.execute(select(tables.studies.c.id).order_by(tables.studies.c.id)).scalars())


def names(connection: sqlalchemy.Connection) -> tuple[str, ...]:
    """Return the name of every study."""
    return tuple(connection.execute(select(tables.studies.c.name)).scalars())


@contextlib.contextmanager
def naming_study(connection: sqlalchemy.Connection, study_id: int) -> Iterator[None]:
    """Let what is said of a damaged row inside also say of which study it is."""
    try:
        yield
    except database_errors.DamagedError as error:
        name = connection.execute(
            select(tables.studies.c.name).where(tables.studies.c.id == study_id)
        ).scalar()
        raise database_errors.DamagedError(f"{error} of study {name!r}") from error


def trials(
    connection: sqlalchemy.Connection, study_id: int, numbers: Collection[int] | None = None
) -> tuple[TrialRecord, ...]:
    """Return some of a study's trials or, with None, all, by number."""
    table = tables.trials
    query = whole_rows(connection, table).where(table.c.study_id == study_id).order_by(table.c.number)
    with naming_study(connection, study_id):
        try:
            return tuple(rows.trial(row) for row in _among(connection, query, table.c.number, numbers))
        except database_errors.DamagedError:
            # A value that is no JSON ends the reading before it is known whose it is.
            for number in connection.execute(query.with_only_columns(table.c.number)).scalars().all():
                with database_errors.named(f"trial {number!r}"):
                    connection.execute(query.where(table.c.number == number)).mappings().all()
            raise


def best(connection: sqlalchemy.Connection, study_id: int, count: int) -> tuple[int, ...]:
    """Return the numbers of the best complete trials, best first; ties go to the lower number."""
    table = tables.trials
    query = select(table.c.number).where(table.c.study_id == study_id, table.c.value.is_not(None))
    # As study/ranking.py has it; a test holds the two against each other.
    order = (table.c.score.is_(None), table.c.score.desc(), table.c.value, table.c.number)
    return tuple(connection.execute(query.order_by(*order).limit(max(0, count))).scalars())


def curve(
    connection: sqlalchemy.Connection, study_id: int, numbers: Collection[int] | None
) -> tuple[CurvePoint, ...]:
    """Return the points of some trials or, with None, of all, by trial and round."""
    table = tables.curve
    query = (
        whole_rows(connection, table)
        .where(table.c.study_id == study_id)
        .order_by(table.c.trial, table.c.round)
    )
    with naming_study(connection, study_id):
        return tuple(rows.point(row) for row in _among(connection, query, table.c.trial, numbers))


def evaluations(
    connection: sqlalchemy.Connection, study_id: int, round_number: int, trial: int | None = None
) -> dict[int, Evaluation]:
    """Return the losses per example after a round, by trial; of one trial or of all."""
    table = tables.evaluations
    query = whole_rows(connection, table).where(table.c.study_id == study_id, table.c.round == round_number)
    if trial is not None:
        query = query.where(table.c.trial == trial)
    found = connection.execute(query.order_by(table.c.trial)).mappings()
    with naming_study(connection, study_id):
        return {row["trial"]: rows.evaluation(row) for row in found}


def final_evaluations(connection: sqlalchemy.Connection, study_id: int) -> dict[int, Evaluation]:
    """Return the losses per example that trials ended with, by trial; one of full length may end early."""
    table, trials = tables.evaluations, tables.trials
    ended = sqlalchemy.and_(trials.c.state == "complete", trials.c.rounds == table.c.round)
    of_trial = sqlalchemy.and_(trials.c.study_id == table.c.study_id, trials.c.number == table.c.trial)
    query = (
        whole_rows(connection, table)
        .join(trials, of_trial)
        .where(table.c.study_id == study_id, sqlalchemy.or_(table.c.round == ROUNDS, ended))
    )
    found = connection.execute(query.order_by(table.c.trial)).mappings()
    with naming_study(connection, study_id):
        return {row["trial"]: rows.evaluation(row) for row in found}


def events(connection: sqlalchemy.Connection, study_id: int, kind: str | None) -> tuple[EventRecord, ...]:
    """Return what happened, in order; all kinds or one."""
    table = tables.events
    query = whole_rows(connection, table).where(table.c.study_id == study_id).order_by(table.c.id)
    if kind is not None:
        query = query.where(table.c.kind == kind)
    with naming_study(connection, study_id):
        return tuple(rows.event(row) for row in connection.execute(query).mappings())


def progress(connection: sqlalchemy.Connection, study_id: int) -> Progress:
    """Return how far a study is."""
    table = tables.trials
    columns = (func.count(), func.sum(table.c.rounds), func.count(table.c.finished_at))
    begun, rounds, ended = connection.execute(select(*columns).where(table.c.study_id == study_id)).one()
    return Progress(trials=int(begun), rounds=int(rounds or 0), ended=int(ended))


def optuna_has(connection: sqlalchemy.Connection, name: str) -> bool:
    """Return whether another program made a study of that name with Optuna in this database."""
    if not sqlalchemy.inspect(connection).has_table("studies"):
        return False
    query = sqlalchemy.text("SELECT 1 FROM studies WHERE study_name = :name")
    return connection.execute(query, {"name": name}).first() is not None


def batches(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """Return values in order, so many at once as one statement can name."""
    left = iter(values)
    while some := list(itertools.islice(left, AT_ONCE)):
        yield some


def _among(
    connection: sqlalchemy.Connection,
    query: sqlalchemy.Select[Any],
    column: sqlalchemy.Column[Any],
    numbers: Collection[int] | None,
) -> Iterator[sqlalchemy.RowMapping]:
    """Return the rows of a query that is ordered by this column first, of some trials or, with None, all."""
    if numbers is None:
        yield from connection.execute(query).mappings()
        return
    for some in batches(sorted(numbers)):
        yield from connection.execute(query.where(column.in_(some))).mappings()


def whole_rows(connection: sqlalchemy.Connection, table: sqlalchemy.Table) -> sqlalchemy.Select[Any]:
    """Return a query of whole rows, as far as the database has their columns by now."""
    version = connection.get_execution_options().get("version", migrations.LATEST)
    return select(*(column for column in table.columns if tables.since(column) <= version))
