"""Our tables as SQLAlchemy sees them, and the types of their columns.

What exists in the file is made by migrations.py alone; a test holds the two against each other.
Knows nothing of connections.

A column that a file has keeps its name for ever; where the code has come to say it otherwise (``quanta`` and
``quantum`` are rounds), ``key`` is the code's word, and a row is asked for either. Seals are taken over the
columns' own names.
"""

from __future__ import annotations

import datetime
import json
import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

from .database_errors import DamagedError

_SURROGATE = re.compile("[\ud800-\udfff]")


class UtcTime(TypeDecorator[datetime.datetime]):
    """A moment, held as ISO 8601 text in UTC, so that text order is time order."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write a moment; one without a time zone is our own mistake."""
        if value is None:
            return None
        assert value.tzinfo is not None, f"{value!r} has no time zone"
        return value.astimezone(datetime.UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime.datetime | None:  # noqa: ARG002
        """Read a moment."""
        try:
            return None if value is None else datetime.datetime.fromisoformat(value)
        except (TypeError, ValueError) as error:
            raise DamagedError("a moment") from error


class Json(TypeDecorator[Any]):
    """A JSON value, held as text; NaN and infinity, which are no JSON, are refused."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002
        """Write a value."""
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        # A path whose bytes are no text is held as lone surrogates, which UTF-8 does not have but JSON does.
        return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        """Read a value."""
        try:
            return None if value is None else json.loads(value)
        except (TypeError, ValueError) as error:
            raise DamagedError("a stored JSON value") from error


class Words(TypeDecorator[str]):
    """A text for people; bytes of a path in it that are no text are written out, as ``\\xe9``."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Write a text."""
        return (
            None if value is None else _SURROGATE.sub(lambda match: f"\\x{ord(match[0]) & 0xFF:02x}", value)
        )


metadata = MetaData()

SINCE = {version: {"since": version} for version in (2, 3)}
"""Behind a column: since which version of the schema it is there; from the first one on where nothing is."""


def _study() -> Column[Any]:
    return Column("study_id", ForeignKey("tune_studies.id"), primary_key=True)


schema = Table("tune_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

studies = Table(
    "tune_studies",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
    Column("touched_at", UtcTime, nullable=False),
    Column("trials", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("config", Json, nullable=False),
    Column("facts", Json, nullable=False),
    Column("seal", Text, info=SINCE[2]),
)

trials = Table(
    "tune_trials",
    metadata,
    _study(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("params", Json, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Words),
    Column("value", Double),
    Column("quanta", Integer, nullable=False, key="rounds"),
    Column("attempt", Integer, nullable=False),
    Column("checkpoint", Text),
    Column("adapter", Text),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("seal", Text, info=SINCE[2]),
    Column("score", Double, info=SINCE[3]),
)

curve = Table(
    "tune_curve",
    metadata,
    _study(),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("quantum", Integer, primary_key=True, autoincrement=False, key="round"),
    Column("examples", BigInteger, nullable=False),
    Column("train_loss", Double),
    Column("eval_loss", Double),
    Column("learning_rate", Double, nullable=False),
    Column("grad_norm", Double),
    Column("tokens_per_second", Double, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("worker", Integer, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime, nullable=False),
    Column("seal", Text, info=SINCE[2]),
)

evaluations = Table(
    "tune_evaluations",
    metadata,
    _study(),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("quantum", Integer, primary_key=True, autoincrement=False, key="round"),
    Column("losses", LargeBinary, nullable=False),
    Column("tokens", LargeBinary, nullable=False),
    Column("seal", Text, info=SINCE[2]),
    Column("correct", LargeBinary, info=SINCE[3]),
    Column("label_losses", LargeBinary, info=SINCE[3]),
    Column("marks", LargeBinary, info=SINCE[3]),
)

events = Table(
    "tune_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("tune_studies.id"), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Json, nullable=False),
    Column("seal", Text, info=SINCE[2]),
)

leases = Table(
    "tune_leases",
    metadata,
    _study(),
    Column("token", BigInteger, nullable=False),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("pid_started", Double),
    Column("identity", Text),
    Column("acquired_at", UtcTime),
)

deleted = Table(
    "tune_deleted",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("deleted_at", UtcTime, nullable=False),
    Column("opened", Json, nullable=False),
    Column("has_files", Integer, nullable=False),
)

DELETED_SINCE = 4
"""The version of the schema that deletes studies."""


def since(column: Column[Any]) -> int:
    """Return the first version of the schema that has a column."""
    return int(column.info.get("since", 1))
