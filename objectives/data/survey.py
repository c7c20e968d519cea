"""Looks through a file once, before it is used: which fields its records have, what format they vote for.

Knows nothing of what the fields say.
"""

from __future__ import annotations

import collections
import time

from ...errors import DataError
from .columns import Survey
from .formats import FORMATS
from .readers import RecordFile

_EMPTY: tuple[object, ...] = ("", [], {})
_CLOCK = 256


def survey(file: RecordFile, *, seconds: float | None = None) -> Survey:
    """Return what the fields of a file are.

    Args:
        file: the file.
        seconds: how long to look at most; None looks to the end.

    Raises:
        DataError: the file cannot be read, or has no records.
    """
    until = None if seconds is None else time.monotonic() + seconds
    filled: dict[str, int] = {}
    votes: collections.Counter[str] = collections.Counter()
    count, whole = 0, True
    for _, record in file.read():
        # A text of one line may be large, so the first record is looked at, however long it took.
        if until is not None and count % _CLOCK == 1 and time.monotonic() > until:
            whole = False
            break
        count += 1
        if isinstance(record, str):
            continue
        for name, value in record.items():
            filled[name] = filled.get(name, 0) + (value is not None and value not in _EMPTY)
        for format, needed in FORMATS.items():  # noqa: A001
            if all(field in record for field in needed):
                votes[format] += 1
                break
    if not count:
        raise DataError(f"{file.name} holds no records: give a file with at least one")
    return Survey(
        records=count,
        filled=filled,
        votes=votes,
        whole=whole,
        single=file.shape == "object"
        or (file.shape == "lines" and count == 1 and file.path.suffix.lower() == ".json"),
    )
