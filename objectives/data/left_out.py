"""Keeps count of the records that are left out or changed: the first of them by name, the reasons by number.

Knows nothing of what is wrong with a record.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from ...nouns import numbered
from ...study.facts import BadRecord, LeftOut

BAD_RECORDS_KEPT = 10_000
"""Bad records that are named, the rest is counted: they are stored with the study and read with it, whole.

So many take about 1 MB; a file with more of them is the wrong file, or read in the wrong format.
"""

PLACES = 5
"""Places that are named for each reason."""

REASONS_KEPT = 50
"""Reasons that are told apart; records are from outside, and may each be wrong in their own way."""

OTHER = "other reasons"

_NUMBER = re.compile(r"\d+")


class Log:
    """What became of a file's records, in their order."""

    def __init__(self, file: str, place: str) -> None:
        self.file, self.place = file, place
        self.bad: list[BadRecord] = []
        """The first records that were left out."""
        self.count = 0
        """How many were left out."""
        self._reasons: dict[str, _Kind] = {}
        self._shortened = _Kind()

    def leave_out(self, line: int, reason: str) -> None:
        """Note a record that is not used."""
        record = BadRecord(file=self.file, line=line, reason=reason, place=self.place)
        self.count += 1
        if len(self.bad) < BAD_RECORDS_KEPT:
            self.bad.append(record)
        kind = _NUMBER.sub("…", reason)
        if kind not in self._reasons and len(self._reasons) >= REASONS_KEPT:
            kind = OTHER
        self._reasons.setdefault(kind, _Kind()).add(record.where, reason if kind != OTHER else OTHER)

    def shorten(self, line: int) -> None:
        """Note a conversation whose last turns were cut off."""
        where = BadRecord(file=self.file, line=line, reason="", place=self.place).where
        self._shortened.add(where, "turns after the last answer were cut off")

    @property
    def reasons(self) -> tuple[LeftOut, ...]:
        """Why records were left out, in the order in which the reasons were first met."""
        return tuple(found.as_left_out(kind) for kind, found in self._reasons.items())

    @property
    def shortened(self) -> LeftOut | None:
        """Conversations whose last turns were cut off."""
        return (
            self._shortened.as_left_out("turns after the last answer were cut off")
            if self._shortened.count
            else None
        )


@dataclasses.dataclass(kw_only=True)
class _Kind:
    """Records of which the same is to be said."""

    count: int = 0
    places: list[str] = dataclasses.field(default_factory=list)
    words: str | None = None
    """The reason of the first; None once another differs in a number."""

    def add(self, where: str, reason: str) -> None:
        self.words = reason if self.count == 0 or self.words == reason else None
        self.count += 1
        if len(self.places) < PLACES:
            self.places.append(where)

    def as_left_out(self, kind: str) -> LeftOut:
        return LeftOut(reason=self.words or kind, count=self.count, places=tuple(self.places))


def together(parts: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """Return the reasons of several files as one, the most frequent first."""
    found: dict[str, LeftOut] = {}
    for part in parts:
        kind = _NUMBER.sub("…", part.reason)
        known = found.get(kind)
        found[kind] = (
            part
            if known is None
            else LeftOut(
                reason=part.reason if part.reason == known.reason else kind,
                count=known.count + part.count,
                places=(*known.places, *part.places)[:PLACES],
            )
        )
    return tuple(sorted(found.values(), key=lambda one: -one.count))


def first_of(bad: list[BadRecord]) -> str:
    """Return words for the first of some bad records."""
    return f"the first, {bad[0].place} {bad[0].line}: {bad[0].reason}" if bad else "it is empty"


def first_left_out(logs: Sequence[Log]) -> str:
    """Return the end of a sentence on what was left out of some files; empty where nothing was."""
    count = sum(log.count for log in logs)
    if not count:
        return ""
    first = next(record for log in logs for record in log.bad)
    left = f"{numbered(count, 'record')} {'was' if count == 1 else 'were'} left out"
    return f"; {left}, the first {first.where}: {first.reason}"
