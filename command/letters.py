"""Letters that an output's encoding does not have, written in plain ones: a dash for a dash, no traceback."""

from __future__ import annotations

import codecs
import io
from typing import TextIO

PLAIN = dict(zip("–−×…⟦⟧\u00a0\u202f│─└▕█●○·", "--x.[]  |-+|#*o.", strict=True))
"""What the command itself writes beyond ASCII, and what stands for it."""


def write_plainly(*streams: TextIO) -> None:
    """Let streams write whatever they are given, as well as their encodings can."""
    codecs.register_error("loratune.plain", _plain)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="loratune.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter, "?") for letter in letters), error.end
