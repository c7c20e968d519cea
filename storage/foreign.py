"""Whose a SQLite file is, and whether it can be written: looked at before anything in it is changed.

A writer's connection alone changes a file: it switches it to a log. So another program's file must be known
for what it is before that. Optuna's own is welcome: our tables lie beside Optuna's anyway.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from ..errors import StorageError, StudyExists
from . import database_errors, engine

Whose = Literal["nobody", "ours", "optuna", "another"]
"""Nobody's is a file without a table; ours has our tables, whatever else it holds."""

_OPTUNA = {"studies", "trials", "version_info"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstLook:
    """What a first look finds in a file."""

    whose: Whose
    """Who made its tables."""
    tables: tuple[str, ...]
    """Their names, in order."""
    optuna_studies: frozenset[str]
    """Names of the studies in Optuna's tables, the copies of ours among them."""


def whose(tables: Collection[str]) -> Whose:
    """Return who made these tables.

    >>> whose(["moz_places", "moz_bookmarks"])
    'another'
    """
    if not tables:
        return "nobody"
    if "tune_schema" in tables:
        return "ours"
    return "optuna" if _OPTUNA.issubset(tables) else "another"


def look(path: Path, *, timeout: float = 30.0) -> FirstLook:
    """Look at a SQLite file that is there and change nothing; raises ``StorageError``."""
    with (
        database_errors.translated(str(path)),
        contextlib.closing(engine.connect_to_read(path, timeout)) as connection,
    ):
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        tables = tuple(str(name) for (name,) in connection.execute(f"{query} ORDER BY name"))
        studies = connection.execute("SELECT study_name FROM studies") if _OPTUNA.issubset(tables) else ()
        names = frozenset(str(name) for (name,) in studies)
    return FirstLook(whose=whose(tables), tables=tables, optuna_studies=names)


def check_may_hold_ours(path: Path, found: FirstLook) -> None:
    """Raise ``StorageError`` where a file is another program's."""
    if found.whose != "another":
        return
    few = ", ".join(found.tables[:3]) + (", …" if len(found.tables) > 3 else "")
    raise StorageError(
        f"{path}: is another program's database (it holds {few}); name another file with --storage"
    )


def check_name_is_free(path: Path, found: FirstLook, name: str) -> None:
    """Raise ``StudyExists`` where a study that is not ours has a name in Optuna's tables."""
    if name in found.optuna_studies:
        raise taken_in_optuna(name, str(path))


def taken_in_optuna(name: str, shown: str) -> StudyExists:
    """Return the error of a name that only Optuna's tables know."""
    return StudyExists(
        f"study {name!r}: Optuna's tables in {shown} have one of that name, which is not of loratune; "
        "choose another name with --study"
    )


def check_writable(path: Path, *, timeout: float = 30.0) -> None:
    """Raise ``StorageError`` where a file cannot be written; it is as it was afterwards."""
    with (
        database_errors.translated(str(path)),
        contextlib.closing(engine.connect(path, "mode=rw", timeout)) as connection,
    ):
        # A file that may only be read opens as if it might be written; a change tells, and is taken back.
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version + 1 if version < 2**31 - 1 else 0}")
        connection.execute("ROLLBACK")
