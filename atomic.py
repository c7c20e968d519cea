"""Writing a file so that its name is there whole or not at all: how files are made but for a database's copy.

What a file holds, and what to say where it cannot be written, is its writer's. Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""A name under which a file is written before it has its own."""


def write_atomically(
    path: Path, pieces: Iterable[bytes | memoryview], *, mode: int | None = 0o600, synced: bool = True
) -> None:
    """Write a file under a name of its own, sync it, and rename it; raises ``OSError`` and leaves no rest.

    Its folder must be there, and the rename outlives a power cut once ``sync_folder`` was called too. Pieces
    are written one after another: what is large need not be copied together. The temporary name is
    hidden and holds the file's own. What a kill leaves behind is deleted by ``sweep_unfinished``, or by who
    sweeps files of that name: in a study's folders and in the cache, when a study is run. Beside a file that
    the user named it stays, for nothing is deleted there.

    Args:
        path: where the file is to be; one that is there is replaced.
        pieces: its bytes.
        mode: who may read it, whatever the umask; None for what the umask lets any new file have.
        synced: whether the bytes are on disk before the name is; without it a power cut may leave an empty
            file, which only who can do without may risk.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        # The kernel applies the umask: a process can read its own only by setting it, for all its threads.
        begun = 0o666 if mode is None else 0o600
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, begun), "wb") as file:
            file.writelines(pieces)
            file.flush()
            if mode is not None and mode != begun:
                os.fchmod(file.fileno(), mode)
            if synced:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut; raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_unfinished(folder: Path, *, older_than: float = 0) -> None:
    """Delete what killed writers left in a folder, which need not be there; raises ``OSError``.

    Args:
        folder: looked into, and not into folders inside it.
        older_than: seconds since the last byte; 0 where nobody else can be writing there now.
    """
    with contextlib.suppress(FileNotFoundError):
        for entry in os.scandir(folder):
            if not _UNFINISHED.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            with contextlib.suppress(FileNotFoundError):  # its writer has ended, or another sweeps too
                if not older_than or time.time() - entry.stat(follow_symlinks=False).st_mtime > older_than:
                    Path(entry).unlink()
