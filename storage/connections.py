"""A database that is open: its transactions, each held to the file, the lock and the lease that it rests on.

Knows nothing of what is read or written in a transaction but the row of the study that it is about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import sqlalchemy
from sqlalchemy import select, update

from ..errors import StorageError, StudyNotFound
from . import database_errors, engine, header, migrations, ownership, rows, tables

Mode = Literal["create", "write", "read"]
"""``create`` makes the database where there is none; ``read`` makes and changes nothing at all."""


class Connections:
    """The engine of one database and what every transaction on it must hold to."""

    def __init__(self, address: engine.Address, mode: Mode, timeout: float) -> None:
        self.address = address
        self.mode = mode
        self.timeout = timeout
        self.fence = engine.Fence()
        self.engine = (
            engine.make_reader(address, timeout=timeout)
            if mode == "read"
            else engine.make_writer(address, self.fence, timeout=timeout)
        )
        self._version = migrations.LATEST
        self._file: tuple[int, int] | None = None
        if address.path is not None:
            with database_errors.translated_files(address.path):
                found = address.path.stat()
                self._file = (found.st_dev, found.st_ino)

    @property
    def url(self) -> str:
        """The database as it may be printed."""
        return self.address.shown

    def prepare(self) -> None:
        """Bring the schema up to date, or check that it can be read as it is."""
        with self.transaction() as connection:
            found = migrations.version(connection)
            if found is not None:
                migrations.check(found, self.url)
            if self.mode == "create" or (self.mode == "write" and found is not None):
                migrations.migrate(connection, found)
                # A file that may only be read opens as if it might be written; this tells at once.
                connection.execute(update(tables.schema).values(version=tables.schema.c.version))
            elif found is None:
                raise holds_no_study(self.url)
            elif found < migrations.READABLE:
                raise StorageError(
                    f"{self.url}: written by an older loratune; tune resume brings it up to date"
                )
            if self.mode == "read" and found is not None:
                self._version = found

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        header.let_go()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlalchemy.Connection]:
        """One transaction; it writes unless the database was opened to read."""
        self._check_file()
        with database_errors.translated(self.url), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlalchemy.Connection]:
        """One transaction that only reads."""
        with database_errors.translated(self.url), self.engine.connect() as connection:
            yield connection.execution_options(reading=True, version=self._version)

    @contextlib.contextmanager
    def writing(self, study_id: int) -> Iterator[sqlalchemy.Connection]:
        """One transaction on a study that nobody else may be writing."""
        if self.mode == "read":
            raise StorageError(f"{self.url}: was opened to read only")
        with self.transaction() as connection:
            if study_id not in self.fence.held:
                ownership.check_not_lost(connection, study_id)
            self.touch(connection, study_id)
            yield connection

    def touch(self, connection: sqlalchemy.Connection, study_id: int) -> str:
        """Mark a study as the one last worked on and return its name; ``StudyNotFound`` without it."""
        table = tables.studies
        connection.execute(update(table).where(table.c.id == study_id).values(touched_at=rows.now()))
        name = connection.execute(select(table.c.name).where(table.c.id == study_id)).scalar()
        if name is None:
            raise StudyNotFound(f"study {study_id}: not in {self.url}; tune list shows what is")
        return str(name)

    def _check_file(self) -> None:
        """Raise ``StorageError`` where the file that we write is no longer the one of that path.

        SQLite would go on writing to a deleted file, and every trial would be lost with it.
        """
        path = self.address.path
        if path is None or self.mode == "read":
            return
        try:
            found = path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise StorageError(f"{path}: was deleted or replaced while in use; put it back and tune resume")


def holds_no_study(shown: str) -> StudyNotFound:
    """Return the error of a database that is there and has no tables of ours."""
    return StudyNotFound(
        f"{shown}: holds no study of loratune; tune search makes one, or name another database with --storage"
    )
