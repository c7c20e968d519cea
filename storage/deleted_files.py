"""The files of deleted studies: which folders are theirs alone, and how these go.

A folder of a study is named by a number, and databases side by side share the folder of all; so a folder goes
only where nobody else can mean it.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from ..errors import LoratuneError
from . import database_errors, engine, progress_note, study_files
from .connections import Connections
from .deletion import Deleted, forget_files

_SQLITE = b"SQLite format 3\x00"


def delete(database: Connections, study: Deleted) -> int | None:
    """Delete the files of a study that is deleted; return the bytes freed, None where they were left.

    They are where another database holds the study too, as a backup of it does, and where the folder is not
    seen to be its own: that of a server's studies lies wherever the search ran.
    """
    path, folder = database.address.path, database.address.artifacts / str(study.id)
    if path is not None:
        theirs = _is_of_another(path, study)
    else:
        theirs = study.progress is None or progress_note.read(folder) != study.progress
    freed = None if theirs else _empty(folder)
    with database.transaction() as connection:
        forget_files(connection, study.id)
    if not theirs:
        with contextlib.suppress(OSError):
            folder.rmdir()  # what is in it by now is somebody else's, and stays
    return freed


def _is_of_another(path: Path, study: Deleted) -> bool:
    """Return whether another database beside this one holds the same study, as a backup of it does."""
    for other in sorted(path.parent.iterdir()):
        if other == path or not other.is_file() or not _is_sqlite(other):
            continue
        try:
            with (
                database_errors.translated(str(other)),
                contextlib.closing(engine.connect_to_read(other, 5.0)) as connection,
            ):
                query = "SELECT 1 FROM tune_studies WHERE id = ? AND name = ? AND created_at = ?"
                if connection.execute(query, (study.id, study.name, study.created_at)).fetchone():
                    return True
        except (LoratuneError, sqlite3.Error):
            continue  # no database of ours
    return False


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


def _is_sqlite(path: Path) -> bool:
    # Nobody of this process has it open, so that closing it drops no lock (header.py).
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False
