"""How a SQLite file says that it is written to, read without ever closing the file.

POSIX drops *all* locks of a process on a file when the process closes *any* descriptor of it, also one that
it only read through (https://sqlite.org/howtocorrupt.html, section 2.2). Where a writer lives in this
process, in a service or a notebook, another program would then take it for dead: it folds the log away, and
what the writer commits from then on goes into a deleted file. SQLite minds its own descriptors, also of its
read-only and immutable connections; ours are kept open until the process ends, one for each database, and
read again and again. Nothing that SQLite can be asked tells these two bytes, and no moment is safe for
closing: a thread may have taken a lock since we looked.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

_LOG = b"\x02\x02"
"""Bytes 18 and 19 where changes go to a log (WAL); 1 and 1 where they are made in place."""

_kept: dict[tuple[int, int], int] = {}
"""Descriptor by device and inode: a file of the same name may be another one later."""
_keeping = threading.Lock()


def create(path: Path) -> None:
    """Make an empty file that the user alone can read, and keep it open; raises ``OSError``."""
    with _keeping:
        _keep(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def has_log(path: Path) -> bool:
    """Return whether the database writes to a log (WAL) and not in place; raises ``OSError``."""
    found = path.stat()
    with _keeping:
        handle = _kept.get((found.st_dev, found.st_ino))
        if handle is None or _file(handle) != (found.st_dev, found.st_ino):
            handle = _keep(os.open(path, os.O_RDONLY))
        return os.pread(handle, 2, 18) == _LOG


def _keep(handle: int) -> int:
    """Keep a descriptor, and let go of those of files that were deleted: nobody waits for their locks."""
    for key, kept in list(_kept.items()):
        there = _file(kept)
        if there != key:
            # Closed under us, as some daemons close everything, and by now perhaps another file's.
            del _kept[key]
        elif not os.fstat(kept).st_nlink:
            os.close(_kept.pop(key))
    found = _file(handle)
    assert found is not None, "it was just opened"
    # Where the file is kept already, ours stays open beside it: to close it is what must not be done.
    _kept.setdefault(found, handle)
    return handle


def _file(handle: int) -> tuple[int, int] | None:
    """Return which file a descriptor is of; None where it is closed."""
    try:
        found = os.fstat(handle)
    except OSError:
        return None
    return found.st_dev, found.st_ino
