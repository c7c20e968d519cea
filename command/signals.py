"""What belongs to the process of a command, and to no program that calls us: signals and the umask."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from ..search.interrupt import StopSignal


@contextlib.contextmanager
def stop_on_signals(stop: StopSignal) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM ask the search to end.

    A third request no longer asks: it interrupts wherever the program is.
    """
    times = 0

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        if times > 2:
            raise KeyboardInterrupt
        stop.request()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, with everything closed on the way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Make whatever is written readable by its owner alone: data, models and losses are the user's own."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def training() -> Iterator[None]:
    """What a command does around training: SIGTERM ends it as Ctrl-C does, and its files are private."""
    with interrupted_by_sigterm(), private_files():
        yield
