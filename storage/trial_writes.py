"""Writing trials, inside the caller's transaction: each step is checked against the row it follows.

Numbers have no gaps, quanta come one after another, and a trial that has ended is never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import func, insert, select, update

from ..errors import StorageError
from ..spaces.params import LoraParams
from ..study.records import Ending, QuantumUpdate
from . import rows, seals, tables


def add(
    connection: sqlalchemy.Connection, study_id: int, number: int, params: LoraParams, seed: int, source: str
) -> None:
    """Add a running trial; its number must be the next one."""
    counted = select(func.count()).where(tables.trials.c.study_id == study_id)
    expected = connection.execute(counted).scalar_one()
    if number != expected:
        raise StorageError(f"trial {number}: the next number is {expected}; read the trials again")
    row = {"study_id": study_id, "number": number, "params": params.to_dict(), "seed": seed}
    row |= {"source": source, "state": "running", "quanta": 0, "attempt": 0, "started_at": rows.now()}
    connection.execute(insert(tables.trials).values(row))
    seals.put(
        connection, tables.trials, tables.trials.c.study_id == study_id, tables.trials.c.number == number
    )


def begin_attempt(connection: sqlalchemy.Connection, study_id: int, number: int) -> int:
    """Take a running trial up again and return its new attempt."""
    attempt = int(_running(connection, study_id, number)["attempt"]) + 1
    _change(connection, study_id, number, attempt=attempt)
    return attempt


def record(
    connection: sqlalchemy.Connection, study_id: int, folder: Path, updates: Sequence[QuantumUpdate]
) -> None:
    """Record a quantum of several trials."""
    for found in updates:
        row = _running(connection, study_id, found.trial)
        if found.quantum != row["quanta"] + 1:
            raise StorageError(
                f"trial {found.trial}: quantum {found.quantum} does not follow {row['quanta']}; "
                "read the trials again"
            )
        _add(connection, tables.curve, rows.point_values(study_id, found))
        if found.evaluation is not None:
            _add(connection, tables.evaluations, rows.evaluation_values(study_id, found))
        checkpoint = rows.relative(folder, found.checkpoint)
        _change(connection, study_id, found.trial, quanta=found.quantum, checkpoint=checkpoint)


def finish(connection: sqlalchemy.Connection, study_id: int, folder: Path, endings: Sequence[Ending]) -> None:
    """Record how trials ended; their checkpoints are no longer named."""
    at = rows.now()
    for ending in endings:
        rows.check_ending(ending)
        _running(connection, study_id, ending.trial)
        _change(
            connection,
            study_id,
            ending.trial,
            state=ending.state,
            reason=ending.reason,
            value=None if ending.value is None else float(ending.value),
            adapter=rows.relative(folder, ending.adapter),
            checkpoint=None,
            finished_at=at,
        )


def forget_adapters(connection: sqlalchemy.Connection, study_id: int, keep: Collection[int]) -> None:
    """Name no adapter any more but those of the trials in ``keep``: all that may change of an ended trial."""
    table = tables.trials
    named = (table.c.study_id == study_id, table.c.adapter.is_not(None), table.c.number.not_in(keep))
    for row in connection.execute(select(table).where(*named)).mappings().all():
        seals.check(row, f"trial {row['number']!r}")
        _change(connection, study_id, row["number"], adapter=None)


def _running(connection: sqlalchemy.Connection, study_id: int, number: int) -> sqlalchemy.RowMapping:
    """Return the row of a trial that still runs, or raise ``StorageError``."""
    table = tables.trials
    query = select(table).where(table.c.study_id == study_id, table.c.number == number)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise StorageError(f"trial {number}: not in study {study_id}; read the trials again")
    seals.check(row, f"trial {number}")
    if row["state"] != "running":
        raise StorageError(f"trial {number}: has ended ({row['state']}) and cannot be changed")
    return row


def _change(connection: sqlalchemy.Connection, study_id: int, number: int, **values: Any) -> None:
    table = tables.trials
    chosen = (table.c.study_id == study_id, table.c.number == number)
    connection.execute(update(table).where(*chosen).values(values))
    seals.put(connection, table, *chosen)


def _add(connection: sqlalchemy.Connection, table: sqlalchemy.Table, values: dict[str, Any]) -> None:
    """Add a row of one trial and quantum."""
    connection.execute(insert(table).values(values))
    seals.put(connection, table, *(column == values[column.name] for column in table.primary_key))
