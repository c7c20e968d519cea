"""A search in a real terminal: it draws its table in place, and Ctrl-C on the keyboard ends it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

ON_A_TERMINAL = """
import fcntl, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # of a session of its own, so that Ctrl-C reaches it
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal of 160 columns."""

    def __init__(self, words: tuple[str, ...], cwd: object) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("TUNE_PLAIN", "COLUMNS")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_A_TERMINAL.format(words=words)],
            cwd=str(cwd),
            env={**kept, "TERM": "xterm-256color", "TOKENIZERS_PARALLELISM": "false"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = ""

    @property
    def text(self) -> str:
        """All that was drawn, without colors and movements."""
        return ESCAPES.sub("", self.raw)

    def read_until(self, condition: Callable[[], object], what: str) -> None:
        """Take what is drawn until something is so; fail where the process ends before."""
        deadline = time.monotonic() + 240
        while not condition():
            assert time.monotonic() < deadline, f"never came: {what}\n{self.text}"
            if not select.select([self._ours], [], [], 0.2)[0]:
                assert self.process.poll() is None, f"ended before {what}\n{self.text}"
                continue
            try:
                self.raw += os.read(self._ours, 65536).decode("utf-8", errors="replace")
            except OSError:  # the other side is closed
                assert condition(), f"ended before {what}\n{self.text}"
                return

    def read_to_the_end(self) -> int:
        """Take the rest and return the exit code."""
        with contextlib.suppress(AssertionError):
            self.read_until(lambda: False, "the end")
        return self.process.wait(240)

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def close(self) -> None:
        """Hang up."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path) -> Iterator[Callable[..., Terminal]]:
    made: list[Terminal] = []

    def begin(*words: str) -> Terminal:
        made.append(Terminal(words, tmp_path))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def test_the_table_is_drawn_and_ctrl_c_on_the_keyboard_ends_the_search(terminal, small):
    search = terminal("search", "--trials=1000", *small)
    search.read_until(lambda: re.search(r"complete +\S", search.text), "the first complete trial")
    assert re.search(
        r"trial +lr +batch +rank +alpha +warmup +examples +train +eval +lr now +grad +state", search.text
    )
    assert re.search(r"\d+/64 ", search.text)
    assert "/1,000 trials" in search.text
    assert "tokens/s" in search.text
    assert "\x1b[?25l" in search.raw  # the cursor is hidden while it is drawn …
    search.press(b"\x03")
    assert search.read_to_the_end() == 130
    assert search.raw.rindex("\x1b[?25h") > search.raw.rindex("\x1b[?25l")  # … and comes back
    assert "Traceback" not in search.text
    assert "nothing is lost" in search.text
    assert "go on with: tune resume demo" in search.text
