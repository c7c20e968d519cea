"""Opening a database: whether it can lie where the user says, whose it is, and its schema as we need it.

Nothing in a file is changed before it is known for what it is.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import StorageError, StudyNotFound
from . import database_errors, engine, foreign
from .connections import Connections, Mode, holds_no_study


def open_database(url_or_path: str, *, mode: Mode, timeout: float) -> Connections:
    """Open a database, made first where it may be; raises ``StudyNotFound`` and ``StorageError``."""
    address = engine.parse(url_or_path)
    if address.path is not None:
        _look_at(address.path, mode, timeout)
    opened = Connections(address, mode, timeout)
    try:
        opened.prepare()
    except BaseException:
        opened.close()
        raise
    return opened


def _look_at(path: Path, mode: Mode, timeout: float) -> None:
    """Make a file that is not there and may be made, or raise where what is there is not ours to use."""
    check_path(path)
    if not path.exists():
        if mode != "create":
            raise StudyNotFound(
                f"{path}: no such database; tune search makes one, or name another with --storage"
            )
        engine.create_file(path)
    elif mode != "read":
        found = foreign.look(path, timeout=timeout)
        if mode == "create":
            foreign.check_may_hold_ours(path, found)
        elif found.whose != "ours":
            raise holds_no_study(str(path))


def check_path(path: Path) -> None:
    """Raise ``StorageError`` where a database can neither lie at a path nor be made there."""
    with database_errors.translated_files(path):
        if path.is_dir():
            raise StorageError(f"{path}: is a folder; name a file in it, such as {path / 'tune.db'}")
        if path.exists() and not path.is_file():
            raise StorageError(f"{path}: is a device or a pipe; name a file, such as tune.db")
        if not path.parent.is_dir():
            raise StorageError(f"{path}: its folder does not exist; make it, or name another with --storage")
