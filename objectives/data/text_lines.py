"""Reads text a piece at a time, and says where a file is not in the encoding that it is read in.

A file of any size takes the memory of one line. Knows nothing of JSON, CSV or records.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from ...errors import DataError

BLOCK = 1 << 20
"""Characters or bytes that are read at once."""

_RUNS = re.compile(rb"[\x80-\xff]+")


def pieces(path: Path, encoding: str, *, newline: str, size: int | None = None) -> Iterator[str]:
    """Yield the lines of a file with their ends, or pieces of ``size`` characters.

    ``newline`` is that of ``open``: ``"\\n"`` for lines that end there alone, ``""`` for CSV.

    Raises:
        DataError: the file cannot be read, or not in this encoding.
    """
    try:
        codec = codecs.lookup(encoding).name
        # The same encoding with a byte-order mark skipped; UTF-16 and UTF-32 skip theirs by themselves.
        with path.open(encoding="utf-8-sig" if codec == "utf-8" else codec, newline=newline) as file:
            if size is None:
                yield from file
            else:
                while piece := file.read(size):
                    yield piece
    except LookupError as error:
        raise DataError(
            f"{encoding!r} is no known text encoding: --encoding takes names such as utf-8, cp1252 or gb18030"
        ) from error
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:
        raise DataError(f"{path.name} cannot be decoded as {encoding} ({error}): give --encoding") from error


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the complaint about a file that the system does not let us read."""
    return DataError(f"{str(path)!r} cannot be read ({error.strerror}): check its permissions")


def _undecodable(path: Path, encoding: str) -> DataError:
    """Return the complaint about the first byte that is not in the encoding, with what it may be in."""
    decoder = codecs.getincrementaldecoder(encoding)()
    before, line = 0, 1
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                at = before - pending + error.start
                # What was pending holds no line's end in any encoding that has them as one byte.
                line += block.count(b"\n", 0, max(0, error.start - pending))
                break
            if not block:
                at = before
                break
            before += len(block)
            line += block.count(b"\n")
    return DataError(
        f"{path.name} is not {encoding}: byte {at} (line {line}) cannot be decoded; "
        f"give its encoding with --encoding, such as {_listed(likely_encodings(path))}"
    )


def likely_encodings(path: Path) -> list[str]:
    """Return the encodings that a file may be in, the likeliest first.

    Latin-1 comes last: it decodes anything, so that it does says nothing.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return ["utf-16"]
    candidates = ["gb18030", "cp1252"]
    if not _in_pairs(path):
        candidates.reverse()
    return [*(name for name in candidates if _decodes(path, name)), "latin-1"]


def _in_pairs(path: Path) -> bool:
    """Say whether the bytes past ASCII come two and two, as in Chinese, rather than as single accents."""
    with path.open("rb") as file:
        sample = file.read(BLOCK)
    runs = [len(run) for run in _RUNS.findall(sample)]
    single = sum(length == 1 for length in runs)
    return 2 * single < len(runs)


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            for block in itertools.chain(iter(lambda: file.read(BLOCK), b""), [b""]):
                decoder.decode(block, final=not block)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
