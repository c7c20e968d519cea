"""What can go wrong in a database or on a disk, each as one line that says what to do.

The only place that reads error codes of SQLite, PostgreSQL and the operating system.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

import sqlalchemy.exc

from ..errors import LoratuneError, StorageError

HOW_FAR = "tune db check says how far; "
"""Part of what is said of a damaged database; no news to who just asked that."""

_MEND = f"{HOW_FAR}restore it from a copy, or name another with --storage"

_SQLITE = {
    "SQLITE_BUSY": "locked by another program for too long; close that program and try again",
    "SQLITE_PROTOCOL": "held by another program for too long; close that program and try again",
    "SQLITE_LOCKED": "locked by another program for too long; close that program and try again",
    "SQLITE_READONLY": "read-only; make the file and its folder writable, or name another with --storage",
    "SQLITE_PERM": "no permission; make the file and its folder accessible, or name another with --storage",
    "SQLITE_NOTADB": "not a database; name another file with --storage",
    "SQLITE_CORRUPT": f"damaged; {_MEND}",
    "SQLITE_FULL": "no space left on disk; free some and tune resume",
    "SQLITE_CANTOPEN": "cannot be opened; check the path and its permissions",
}


HELD = ("SQLITE_BUSY", "SQLITE_PROTOCOL")
"""What SQLite says while another process has the file, or takes over the log of one that died."""

_ODD = ("Could not decode to UTF-8", "no such column", "no such table", "malformed database schema")
"""What SQLite says of a file that no migration leaves so."""


class DamagedError(Exception):
    """What is stored cannot be what was written; ``translated`` tells the user so, without its content."""


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn what goes wrong in reading stored values into ``DamagedError``; nothing is written inside."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, LoratuneError, TypeError, ValueError) as error:
        raise DamagedError(what) from error


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    """Let a damage that is found inside be one of ``what``."""
    try:
        yield
    except DamagedError as error:
        raise DamagedError(what) from error


def no_space(path: object) -> StorageError:
    """Return the error of a full disk."""
    return StorageError(f"no space left on the disk of {path}; free some and tune resume")


@contextlib.contextmanager
def translated(shown: str) -> Iterator[None]:
    """Turn what the database or Optuna raises inside into a ``StorageError`` of one line.

    ``shown`` names the database without its password.
    """
    try:
        yield
    except LoratuneError:
        raise
    except Exception as error:
        words = _words(error)
        if words is None:
            raise
        raise StorageError(f"{shown}: {words}") from error


@contextlib.contextmanager
def translated_files(path: object) -> Iterator[None]:
    """Turn what the operating system raises inside into a ``StorageError`` that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_space(path) from error
        raise StorageError(
            f"{path}: {error.strerror or error}; check the path and its permissions"
        ) from error


def sqlite_code(error: BaseException) -> str | None:
    """Return the name of SQLite's primary error code at the root of an error, such as ``SQLITE_BUSY``."""
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            code = getattr(cause, "sqlite_errorname", None)
            # Extended codes read SQLITE_READONLY_DIRECTORY; the first two words are the primary one.
            return "_".join(code.split("_")[:2]) if code else None
    return None


def _words(error: BaseException) -> str | None:
    """Return what to tell of an error, or None where it is our own mistake."""
    damaged = next((c for c in _causes(error) if isinstance(c, DamagedError)), None)
    if damaged is not None:
        return f"damaged, {damaged} cannot be read; {_MEND}"
    if any(isinstance(cause, UnicodeDecodeError) for cause in _causes(error)):
        return f"damaged, a name in it cannot be read; {_MEND}"
    code = sqlite_code(error)
    if code in _SQLITE:
        return _SQLITE[code]
    if code == "SQLITE_IOERR":
        return f"the disk failed or is full ({_last(error)}); check it, free some space and tune resume"
    database = next((c for c in _causes(error) if isinstance(c, sqlalchemy.exc.SQLAlchemyError)), None)
    if isinstance(database, sqlalchemy.exc.DBAPIError):
        if any(words in str(database.orig) for words in _ODD):
            return f"damaged, a text or a table cannot be read; {_MEND}"  # the driver would show the text
        if isinstance(database, sqlalchemy.exc.IntegrityError):
            return f"a row was refused ({_last(error)}); another program may have written it"
        return f"{_last(error)}; check the database and try again"
    if isinstance(database, sqlalchemy.exc.StatementError):
        return f"a value cannot be stored ({_last(error)}); this is a fault of loratune, please report it"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, sqlalchemy.exc.StatementError) and error.orig is not None:
            yield error.orig
        error = error.__cause__


def _last(error: BaseException) -> str:
    """Return the first line of the driver's own words; they never hold the password."""
    driver = [c for c in _causes(error) if not isinstance(c, sqlalchemy.exc.SQLAlchemyError)]
    text = str(driver[-1] if driver else error).strip()
    return text.splitlines()[0] if text else type(error).__name__
