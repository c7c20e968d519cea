"""The files of deleted studies: which folders are theirs alone, and how these go.

A folder of a study is named by its number alone, and databases side by side share the folder of all; so a
folder goes only where nobody else can mean it. A database beside that cannot be read may mean it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from ..errors import LoratuneError
from . import database_errors, engine, foreign, progress_note, study_files
from .connections import Connections
from .deletion import Deleted, forget_files

PATIENCE = 5.0
"""Seconds to wait for a database beside that another program holds."""

_SQLITE = b"SQLite format 3\x00"
_COMPANIONS = ("-wal", "-shm", "-journal")
"""Ends of the files that SQLite keeps beside a database."""
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the operating system says of a name that leads to no file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freed:
    """What became of a deleted study's files."""

    bytes: int
    """Bytes that were freed."""
    kept: str | None = None
    """Why the files were left, in words; None where they are gone."""


def delete(database: Connections, study: Deleted) -> Freed:
    """Delete the files of a study that is deleted, unless they may be another's.

    They may be where a database beside has a study of the same number, as a backup has, or cannot be read;
    and where the folder is not seen to be its own: that of a server's studies lies wherever the search ran.
    """
    folder = database.address.artifacts / str(study.id)
    kept, for_good = _kept(database, study, folder)
    freed = 0 if kept else _empty(folder)
    if for_good:
        with database.transaction() as connection:
            forget_files(connection, study.id)
    if kept is None:
        with contextlib.suppress(OSError):
            folder.rmdir()  # what is in it by now is somebody else's, and stays
    return Freed(bytes=freed, kept=kept)


def shares_its_folder(database: Connections) -> bool:
    """Return whether another database of ours, or one that cannot be read, lies beside this one's files."""
    return any(True for _ in _beside(database, None))


def _kept(database: Connections, study: Deleted, folder: Path) -> tuple[str | None, bool]:
    """Return why a study's files are left, None where they may go; and whether that is so for good."""
    unread = None
    for path, why in _beside(database, study.id):
        if why is None:
            return f"{path}, which shares their folder, has a study of the same number, {study.id}", True
        unread = unread or f"{path} may have a study of that number, and cannot be read: {why}"
    if unread is not None:
        again = database.address.path is not None
        return unread + ("; the next deletion tries again" if again else ""), not again
    if database.address.path is None and (
        study.progress is None or progress_note.read(folder) != study.progress
    ):
        return f"{folder} is not seen to be of this study, whose files lie where the search ran", True
    return None, True


def _beside(database: Connections, number: int | None) -> Iterator[tuple[Path, str | None]]:
    """Yield other databases of ours that share the folder of files, those with a study of a number if given.

    With each goes None, or why it cannot be known whether it is one of these.
    """
    address = database.address
    for folder in sorted({address.artifacts.parent, Path(os.path.realpath(address.artifacts)).parent}):
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            yield folder, error.strerror or str(error)
            continue
        for other in entries:
            try:
                if _is_file(other, address.path) and _is_ours(other, number):
                    yield other, None
            except OSError as error:
                if error.errno not in _NOTHING:
                    yield other, error.strerror or str(error)
            except (LoratuneError, sqlite3.Error) as error:
                if other.exists():
                    yield other, str(error).removeprefix(f"{other}: ").partition(";")[0]


def _is_file(other: Path, own: Path | None) -> bool:
    """Return whether there is a file of its own: not the database itself, and none that SQLite keeps by it.

    A lock of this process on a file would be lost when another descriptor of it is closed (header.py).
    """
    found = other.stat()
    if not stat.S_ISREG(found.st_mode) or (own is not None and own.samefile(other)):
        return False
    return not any(
        other.name.endswith(end) and other.with_name(other.name.removesuffix(end)).exists()
        for end in _COMPANIONS
    )


def _is_ours(path: Path, number: int | None) -> bool:
    """Return whether a file is a database of ours, with a study of a number if given.

    Raises ``LoratuneError`` or ``sqlite3.Error`` where that cannot be read.
    """
    try:
        with contextlib.closing(engine.connect_to_read(path, PATIENCE)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {str(name) for (name,) in found}
            if "tune_studies" not in names and foreign.whose(names) != "ours":
                return False
            chosen, values = ("", ()) if number is None else (" WHERE id = ?", (number,))
            query = f"SELECT 1 FROM tune_studies{chosen} LIMIT 1"
            found = connection.execute(query, values)
            return found.fetchone() is not None or number is None
    except sqlite3.Error as error:
        if database_errors.sqlite_code(error) == "SQLITE_NOTADB" and not _begins_as_sqlite(path):
            return False
        with database_errors.translated(str(path)):
            raise


def _begins_as_sqlite(path: Path) -> bool:
    # SQLite could not read it: nobody has it open in good order, so that closing it drops no lock.
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _empty(folder: Path) -> int:
    """Delete everything in a study's folder, but not itself; return the bytes that were freed.

    While the folder is there, no other database gives its number to a study. Raises ``StorageError``.
    """
    freed = study_files.size(folder)
    if folder.is_symlink() or not folder.is_dir():
        return 0
    with database_errors.translated_files(folder):
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return freed
