"""Writing what happened, inside the caller's transaction; an event is never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import insert

from . import rows, seals, tables


def add(connection: sqlalchemy.Connection, study_id: int, kind: str, detail: Mapping[str, Any]) -> None:
    """Record something that happened now; its details must be JSON."""
    row = {"study_id": study_id, "at": rows.now(), "kind": kind, "detail": detail}
    added = connection.execute(insert(tables.events).values(row)).inserted_primary_key
    assert added is not None
    seals.put(connection, tables.events, tables.events.c.id == added[0])
