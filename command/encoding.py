"""Letters that a terminal cannot or must not get, written in ones that it can: no traceback, no tricks."""

from __future__ import annotations

import codecs
import io
import re
from typing import TextIO

PLAIN = dict(zip("–−×…⟦⟧\u00a0\u202f│─└▕█●○·", "--x.[]  |-+|#*o.", strict=True))
"""What the command itself writes beyond ASCII, and what stands for it."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What moves a cursor, changes a color or turns the direction of writing; not tab and line feed."""

_NOT_IN_JSON = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON may hold, but a terminal or an encoding should not get."""


def visible(text: str) -> str:
    r"""Return a text whose control characters are written out, so that none reaches the terminal.

    >>> visible("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _CONTROL.sub(_escaped, text)


def safe_json(text: str) -> str:
    """Return JSON of the same value without characters that an encoding or a terminal stumbles over.

    Outside of strings JSON has none of them, so escaping all changes no value.
    """
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def write_plainly(*streams: TextIO) -> None:
    """Let streams write whatever they are given, as well as their encodings can."""
    codecs.register_error("loratune.plain", _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="loratune.plain")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        # A byte of a file's name that is no text, named so that whoever reads this may still decode it.
        return f"\\x{ord(letter) - 0xDC00:02x}", error.start + 1
    return PLAIN.get(letter, "?"), error.start + 1
