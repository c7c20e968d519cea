"""What nobody foresaw, at the command's edge: one line for the user, everything else in a file.

Knows no command and no kind of error; exit_codes.py hands over what was raised, and what was called.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from .. import __version__
from ..app.default_storage import default_storage
from ..errors import LoratuneError, in_words
from ..storage import engine, study_files
from .encoding import visible
from .options import Call

_SECRETS = (
    # To the last @ of a word: a password may hold one, and quotes.
    (re.compile(r"(://[^:/@\s'\"]*):\S*@"), r"\1:***@"),
    (re.compile(r"(password=)[^\s&'\"]+", re.IGNORECASE), r"\1***"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "hf_***"),
)
"""What stands in an address or an argument and is nobody else's business, and what takes its place."""

_LIBRARIES = ("click", "numpy", "optuna", "pydantic", "rich", "sqlalchemy", "torch", "transformers")


def unexpected(error: BaseException, call: Call) -> str:
    """Write down an error that nobody foresaw; return the line that tells of it."""
    what = visible(hide_secrets(in_words(error)))
    what = what if len(what) <= 200 else what[:197] + "..."
    file = write_log(error, call)
    if isinstance(error, MemoryError):
        advice = "there was not enough memory; free some, or lower --slots or --workers, and try again"
    else:
        advice = "this is a fault of loratune, please report it"
    if file is None:
        return f"unexpected {what}; {advice}, with what --debug shows"
    return f"unexpected {what}; {advice}; {file} has the details, and --debug shows them"


def write_log(error: BaseException, call: Call) -> Path | None:
    """Write everything that is known of an error where its owner alone can read it; None if that fails."""
    moment = datetime.datetime.now(datetime.UTC)
    name = f"error-{moment:%Y%m%d-%H%M%S}-{os.getpid()}"
    for folder in (_logs(call), Path(tempfile.gettempdir())):
        if folder is None or not folder.is_dir():
            continue
        # A name may be taken: two errors of one second, as of two threads.
        for end in ("", *(f"-{number}" for number in range(2, 10))):
            path = folder / f"{'' if folder.name == study_files.LOGS else 'loratune-'}{name}{end}.log"
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                continue
            except OSError:
                break
            with (
                contextlib.suppress(OSError),
                os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file,
            ):
                file.write(details(error, moment))
                return path
    return None


def details(error: BaseException, moment: datetime.datetime) -> str:
    """Return the text of a log: what was called, with which versions, and the traceback."""
    lines = [
        f"loratune {__version__}, {moment:%Y-%m-%d %H:%M:%S} UTC",
        f"Python {platform.python_version()} on {platform.platform()}",
        "libraries: " + ", ".join(_versions()),
        f"called: {' '.join(map(repr, sys.argv))}",
        "",
        whole(error),
    ]
    return hide_secrets("\n".join(lines))


def whole(error: BaseException) -> str:
    """Return the traceback of an error and of what caused it."""
    return hide_secrets("".join(traceback.format_exception(error)))


def hide_secrets(text: str) -> str:
    """Return a text without the passwords of addresses and the tokens of the Hub in it.

    >>> hide_secrets("postgresql://me:s3cret@host/db")
    'postgresql://me:***@host/db'
    """
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def hear_strays(call: Call) -> None:
    """Let what is raised where nobody can catch it be one line too: in threads, finalizers, at the exit."""

    def say(error: BaseException) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"tune: {unexpected(error, call)}\n" + (whole(error) if call.debug else ""))

    def at_top(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            # After this the interpreter ends as one that was interrupted, with exit code 130.
            sys.stderr.write("tune: interrupted\n")
            sys.stderr.flush()
            os._exit(130)
        say(error)

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            say(args.exc_value)

    def in_finalizer(args: sys.UnraisableHookArgs) -> None:
        # Nothing that was asked for has failed; whoever looks for the cause finds it written down.
        if args.exc_value is not None and not isinstance(args.exc_value, KeyboardInterrupt | OSError):
            write_log(args.exc_value, call)

    sys.excepthook = at_top
    threading.excepthook = in_thread
    sys.unraisablehook = in_finalizer


def _logs(call: Call) -> Path | None:
    """Return the folder of logs beside the database, None where the address is no address."""
    try:
        return engine.parse(call.storage or default_storage()).artifacts / study_files.LOGS
    except (LoratuneError, OSError, RuntimeError, ValueError):
        return None


def _versions() -> Sequence[str]:
    return [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES if name in sys.modules]
