"""A digest in every row of the record, so that a bit that flips in the database's file is found.

SQLite's own check knows whether its pages hang together; a loss of which one bit has flipped is as good to it
as any other. A row's seal is taken over all its columns when the row is written and compared when it is read.
Rows of before have none and are read as they are. Leases and Optuna's copy are not sealed: the first are
compared with living processes, the second is never read.
"""

from __future__ import annotations

import datetime
import json
from typing import Any

import sqlalchemy
from sqlalchemy import ColumnElement, Table, bindparam, select, update

from .. import digest
from . import database_errors, tables

SEAL = "seal"
"""The column."""

KEY = "key_"
"""Before the names of columns that say which row is meant, where many are changed by one statement."""

_LEFT_OUT = (SEAL, "touched_at")
"""Columns without meaning for what was found; ``touched_at`` changes with every write."""

_LATER = frozenset(
    column.name
    for table in tables.metadata.tables.values()
    for column in table.columns
    if tables.since(column) > 2
)
"""Columns that came after rows had been sealed without them: empty, they say nothing, as they did then."""


def of(row: sqlalchemy.RowMapping) -> str:
    """Return the seal of a row as it was read."""
    values = {
        name: _exact(value)
        for name, value in row.items()
        if name not in _LEFT_OUT and not (value is None and name in _LATER)
    }
    return digest.of(json.dumps(values, sort_keys=True).encode())


def check(row: sqlalchemy.RowMapping, what: str) -> None:
    """Raise ``DamagedError``, which names ``what``, where a row is not what was written."""
    seal = row.get(SEAL)
    if seal is not None and seal != of(row):
        raise database_errors.DamagedError(what)


def put(connection: sqlalchemy.Connection, table: Table, *chosen: ColumnElement[bool]) -> None:
    """Seal the rows that were just written; who changes a row checks it first."""
    keys = [column.key for column in table.primary_key]
    sealed = [
        {f"{KEY}{key}": row[key] for key in keys} | {SEAL: of(row)}
        for row in connection.execute(select(table).where(*chosen)).mappings().all()
    ]
    if sealed:
        same = [table.c[key] == bindparam(f"{KEY}{key}") for key in keys]
        connection.execute(update(table).where(*same).values({SEAL: bindparam(SEAL)}), sealed)


def _exact(value: Any) -> Any:
    """Return a value of a column as JSON that tells it from every other."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, bytes | memoryview):
        return digest.of(bytes(value))
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value
