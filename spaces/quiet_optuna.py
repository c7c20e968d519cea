"""Keeping Optuna's words to itself while we use it: the one place that sets its verbosity.

That is the process's, so it is set by the first who asks and comes back with the last, in whatever order
and from whatever threads they do: whoever restores what another had set would leave it so for good.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import optuna


class _Users:
    """How many use Optuna now, and the verbosity that comes back after them."""

    lock = threading.Lock()
    count = 0
    before = 0


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let Optuna log errors alone: it announces each study and its warnings quote what is stored."""
    with _Users.lock:
        if not _Users.count:
            _Users.before = optuna.logging.get_verbosity()
            optuna.logging.set_verbosity(optuna.logging.ERROR)
        _Users.count += 1
    try:
        yield
    finally:
        with _Users.lock:
            _Users.count -= 1
            if not _Users.count:
                optuna.logging.set_verbosity(_Users.before)
