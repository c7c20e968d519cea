"""The log of a SQLite database folded into its file, and a whole copy of it in one file.

SQLite writes to a log beside the file (``tune.db-wal``) and moves it over later; whoever takes the file
alone after a kill gets what had been moved. Knows nothing of our tables.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from ..atomic import sync_folder
from ..errors import StorageError
from . import database_errors, engine


def log_of(path: Path) -> Path:
    """Return where the log of a SQLite file lies."""
    return path.with_name(path.name + "-wal")


def fold(path: Path) -> bool:
    """Move the log into the file and empty it; return whether that is done.

    A reader in the middle of a transaction still needs the log: then as much is moved as can be, and the
    next call tries again. Waits for nobody.
    """
    try:
        if log_of(path).stat().st_size == 0:
            return True
    except FileNotFoundError:
        return True
    try:
        connection = engine.connect(path, "mode=rw", 0.0)
        try:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            return not busy
        finally:
            connection.close()
    except sqlite3.Error:
        # Busy, a full disk or damage: what the log holds stays; a write that cannot be made says so.
        return False


def backup(path: Path, to: Path) -> None:
    """Write a SQLite database as it is at this moment into a new file, whole or not at all.

    A search may run meanwhile, and does not wait. The copy needs no log beside it. Raises
    ``StorageError`` where the file is there already or cannot be written.
    """
    if os.path.lexists(to):
        raise StorageError(f"{to}: is there already; name another file with -o")
    if not to.parent.is_dir():
        raise StorageError(f"{to}: its folder does not exist; make it, or name another file with -o")
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    try:
        with database_errors.translated_files(to):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with database_errors.translated(str(path)):
            source = engine.connect_to_read(path, 30.0)
        with database_errors.translated(str(to)):
            try:
                target = sqlite3.connect(temporary, isolation_level=None)
                try:
                    source.backup(target)  # in one step, so in one moment
                    target.execute("PRAGMA journal_mode = DELETE")
                finally:
                    target.close()
            finally:
                source.close()
        with database_errors.translated_files(to):
            # Opened and closed beside SQLite's back, which header.py says why not to do; but nobody else
            # knows of this file, and SQLite has closed it.
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            _name(temporary, to)
            sync_folder(to.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _name(temporary: Path, to: Path) -> None:
    """Give a finished file its name, never over a file that came meanwhile; raises ``OSError``."""
    try:
        os.link(temporary, to)
        return
    except FileExistsError:
        raise
    except OSError:
        pass  # exFAT, FAT and some network disks know no links
    # The name is taken by whoever makes the file; what is replaced then is our own empty one.
    os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        temporary.replace(to)
    except BaseException:
        to.unlink()
        raise
