"""Writing trials, inside the caller's transaction: each step is checked against the row it follows.

Numbers have no gaps, rounds come one after another, and a trial that has ended is never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import bindparam, func, insert, select, tuple_, update

from ..errors import StorageError
from ..spaces.params import LoraParams
from ..study.records import Ending, RoundUpdate
from . import queries, rows, seals, tables


def add(
    connection: sqlalchemy.Connection,
    study_id: int,
    number: int,
    params: LoraParams,
    seed: int,
    source: str,
    *,
    rounds: int = 0,
    checkpoint: str | None = None,
) -> None:
    """Add a running trial; its number must be the next one.

    One that goes on from another's state has ``rounds`` done at its beginning, and its file.
    """
    last = select(func.max(tables.trials.c.number)).where(tables.trials.c.study_id == study_id)
    found = connection.execute(last).scalar()
    expected = 0 if found is None else found + 1
    if number != expected:
        raise StorageError(f"trial {number}: the next number is {expected}; read the trials again")
    row = {"study_id": study_id, "number": number, "params": params.to_dict(), "seed": seed}
    row |= {"source": source, "state": "running", "rounds": rounds, "attempt": 0, "started_at": rows.now()}
    row |= {"checkpoint": checkpoint}
    connection.execute(insert(tables.trials).values(row))
    seals.put(
        connection, tables.trials, tables.trials.c.study_id == study_id, tables.trials.c.number == number
    )


def begin_attempt(connection: sqlalchemy.Connection, study_id: int, number: int) -> int:
    """Take a running trial up again and return its new attempt."""
    attempt = int(_running(connection, study_id, [number])[number]["attempt"]) + 1
    _change(connection, study_id, {number: {"attempt": attempt}})
    return attempt


def record(
    connection: sqlalchemy.Connection, study_id: int, folder: Path, updates: Sequence[RoundUpdate]
) -> None:
    """Record a round of several trials."""
    running = _running(connection, study_id, [found.trial for found in updates])
    changes: dict[int, dict[str, Any]] = {}
    for found in updates:
        row = running[found.trial]
        if found.round != row["rounds"] + 1:
            raise StorageError(
                f"trial {found.trial}: round {found.round} does not follow {row['rounds']}; "
                "read the trials again"
            )
        checkpoint = rows.relative(folder, found.checkpoint)
        changes[found.trial] = {"rounds": found.round, "checkpoint": checkpoint}
    _add(connection, tables.curve, [rows.point_values(study_id, found) for found in updates])
    evaluations = [
        rows.evaluation_values(study_id, found.trial, found.round, evaluation)
        for found in updates
        if (evaluation := found.final or found.evaluation) is not None
    ]
    _add(connection, tables.evaluations, evaluations)
    _change(connection, study_id, changes)


def finish(connection: sqlalchemy.Connection, study_id: int, folder: Path, endings: Sequence[Ending]) -> None:
    """Record how trials ended; their checkpoints are no longer named."""
    at = rows.now()
    for ending in endings:
        rows.check_ending(ending)
    _running(connection, study_id, [ending.trial for ending in endings])
    changes: dict[int, dict[str, Any]] = {
        ending.trial: {
            "state": ending.state,
            "reason": ending.reason,
            "value": None if ending.value is None else float(ending.value),
            "score": None if ending.score is None else float(ending.score),
            "adapter": rows.relative(folder, ending.adapter),
            "checkpoint": None,
            "finished_at": at,
        }
        for ending in endings
    }
    _change(connection, study_id, changes)


def forget_adapters(connection: sqlalchemy.Connection, study_id: int, keep: Collection[int]) -> None:
    """Name no adapter any more but those of the trials in ``keep``: all that may change of an ended trial."""
    table = tables.trials
    named = select(table).where(table.c.study_id == study_id, table.c.adapter.is_not(None))
    # Told apart here: those that are kept can be more than one statement can name.
    kept = frozenset(keep)
    forgotten = [row for row in connection.execute(named).mappings() if row["number"] not in kept]
    with queries.naming_study(connection, study_id):
        for row in forgotten:
            seals.check(row, f"trial {row['number']!r}")
    _change(connection, study_id, {row["number"]: {"adapter": None} for row in forgotten})


def _running(
    connection: sqlalchemy.Connection, study_id: int, numbers: Collection[int]
) -> dict[int, sqlalchemy.RowMapping]:
    """Return the rows of trials that still run, or raise ``StorageError``."""
    table = tables.trials
    query = select(table).where(table.c.study_id == study_id)
    found = {
        row["number"]: row
        for some in queries.batches(numbers)
        for row in connection.execute(query.where(table.c.number.in_(some))).mappings()
    }
    for number in numbers:
        if number not in found:
            raise StorageError(f"trial {number}: not in study {study_id}; read the trials again")
        with queries.naming_study(connection, study_id):
            seals.check(found[number], f"trial {number}")
        if (state := found[number]["state"]) != "running":
            raise StorageError(f"trial {number}: has ended ({state}) and cannot be changed")
    return found


def _change(
    connection: sqlalchemy.Connection, study_id: int, changes: Mapping[int, Mapping[str, Any]]
) -> None:
    """Change the rows of some trials, by number, each in the same columns, with one statement."""
    if not changes:
        return
    table = tables.trials
    columns = next(iter(changes.values()))
    one = table.c.study_id == study_id
    chosen = table.c.number == bindparam(f"{seals.KEY}number")
    statement = update(table).where(one, chosen).values({name: bindparam(name) for name in columns})
    connection.execute(statement, [{f"{seals.KEY}number": n, **values} for n, values in changes.items()])
    for some in queries.batches(changes):
        seals.put(connection, table, one, table.c.number.in_(some))


def _add(connection: sqlalchemy.Connection, table: sqlalchemy.Table, values: list[dict[str, Any]]) -> None:
    """Add rows of some trials and rounds of one study, with one statement."""
    if not values:
        return
    connection.execute(insert(table), values)
    key = tuple_(*table.primary_key)
    names = [column.key for column in table.primary_key]
    for some in queries.batches(values):
        seals.put(connection, table, key.in_([tuple(row[name] for name in names) for row in some]))
