"""What a first look at model and data leaves: in a folder of its own, until there is a study to keep it for.

So a search that is refused leaves nothing behind where it was started.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..atomic import write_atomically
from ..errors import StorageError
from ..objectives.workers.process import ProcessWorker
from ..storage.database_errors import translated_files
from ..storage.study_files import CACHE, LOGS


@contextlib.contextmanager
def scratch(*, keep_for: tuple[type[BaseException], ...] = ()) -> Iterator[Path]:
    """A folder that is gone afterwards, unless one of these errors ended it. Raises ``StorageError``."""
    with _temporary():
        folder = Path(tempfile.mkdtemp(prefix="loratune-"))
    try:
        yield folder
    except BaseException as error:
        if not isinstance(error, keep_for):
            _remove(folder)
        raise
    _remove(folder)


def borrow_cache(artifacts: Path, folder: Path) -> Path:
    """Return a cache in ``folder`` that finds what an earlier search kept, and adds nothing to that.

    Raises ``StorageError``.
    """
    cache = folder / CACHE
    kept = artifacts / CACHE
    found: list[Path] = []
    with translated_files(kept):
        if kept.is_dir():
            found += (file for file in kept.iterdir() if file.is_file() and not file.name.startswith("."))
    with _temporary():
        cache.mkdir(mode=0o700)
        for file in found:
            (cache / file.name).symlink_to(file)
    return cache


def settle(workers: Iterable[ProcessWorker], folder: Path, artifacts: Path) -> None:
    """Move what a first look left in ``folder`` to the files of the study that was made of it.

    Raises ``StorageError``, such as for a full disk: the study is there by then, and can be resumed.
    """
    with translated_files(artifacts):
        for worker in workers:
            worker.move_log(artifacts / LOGS / worker.log_file.name)
        kept = artifacts / CACHE
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (folder / CACHE).iterdir():
            if file.is_file() and not file.is_symlink():
                _move(file, kept / file.name)
    _remove(folder)


def _move(file: Path, to: Path) -> None:
    """Move a file, so that the new name is there whole or not at all, also onto another disk."""
    try:
        file.replace(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with file.open("rb") as opened:
            write_atomically(to, iter(lambda: opened.read(2**20), b""))
        file.unlink()


@contextlib.contextmanager
def _temporary() -> Iterator[None]:
    """Turn what goes wrong in the system's folder for temporary files into a ``StorageError``."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"nothing can be written to the system's folder for temporary files ({error.strerror or error}); "
            "free some space there, or set TMPDIR to another folder"
        ) from error


def _remove(folder: Path) -> None:
    # What cannot be removed hides neither an error nor a result: it lies in the system's folder for such.
    shutil.rmtree(folder, ignore_errors=True)
