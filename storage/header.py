"""How a SQLite file says that it is written to, read without costing this process its locks on it.

POSIX drops *all* locks of a process on a file when the process closes *any* descriptor of it, also one that
it only read through (https://sqlite.org/howtocorrupt.html, section 2.2). Where a writer lives in this
process, in a service or a notebook, another program would then take it for dead: it folds the log away, and
what the writer commits from then on goes into a deleted file. SQLite minds its own descriptors, also those
of read-only and immutable connections; nothing that it can be asked tells the two bytes that are wanted
here.

So a descriptor of ours is closed only when no other one of this process is of the same file: without one
there is no lock to lose. Until then it is kept and read again. ``opening`` keeps our own threads from
opening the file between that look and the closing; who opens it there by means of their own has a few
microseconds to lose a lock in, which we cannot see.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_LOG = b"\x02\x02"
"""Bytes 18 and 19 where changes go to a log (WAL); 1 and 1 where they are made in place."""

_File = tuple[int, int]
"""Device and inode: a file of the same name may be another one later."""

_kept: dict[int, _File] = {}
"""Our descriptors that could not be closed yet."""

opening = threading.RLock()
"""Held while a database's file is opened, by us or by SQLite for us."""


def create(path: Path) -> None:
    """Make an empty file that the user alone can read; raises ``OSError``."""
    with opening:
        _keep(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        let_go()


def has_log(path: Path) -> bool:
    """Return whether the database writes to a log (WAL) and not in place; raises ``OSError``."""
    with opening:
        wanted = path.stat()
        mine = [handle for handle, file in _still_kept().items() if file == (wanted.st_dev, wanted.st_ino)]
        handle = mine[0] if mine else _keep(os.open(path, os.O_RDONLY))
        try:
            return os.pread(handle, 2, 18) == _LOG
        finally:
            let_go()


def let_go() -> None:
    """Close our descriptors of the files that nobody else in this process has open."""
    with opening:
        kept = _still_kept()
        if not kept:
            return
        others = _open_elsewhere()
        for handle, file in kept.items():
            if others is not None and file not in others:
                del _kept[handle]
                os.close(handle)


def _keep(handle: int) -> int:
    found = os.fstat(handle)
    _kept[handle] = (found.st_dev, found.st_ino)
    return handle


def _still_kept() -> dict[int, _File]:
    """Return our descriptors, without those that were closed under us, as some daemons close everything."""
    for handle, file in list(_kept.items()):
        if _file(handle) != file:
            del _kept[handle]
    return dict(_kept)


def _open_elsewhere() -> set[_File] | None:
    """Return the files of this process's other descriptors; None where they cannot be listed."""
    try:
        handles = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    except OSError:
        return None
    return {file for file in map(_file, handles - _kept.keys()) if file is not None}


def _file(handle: int) -> _File | None:
    """Return which file a descriptor is of; None where it is closed."""
    try:
        found = os.fstat(handle)
    except OSError:
        return None
    return found.st_dev, found.st_ino
