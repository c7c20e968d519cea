"""What ``--data`` and the key ``data`` take: a file, or several, each of which may say how it is read.

Opens nothing. Imports little, since ``--help`` waits for it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from ..errors import nearest, shown

LONGEST = 4096
"""Characters of a path at most, here and wherever an option takes one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GivenFile:
    """A file of records as the user names it."""

    path: str
    """Where it lies."""
    format: str | None = None
    """Its own layout; None: that of all, or where it says its columns, the one that these are of."""
    columns: str | Mapping[str, Any] | None = None
    """What its own columns are; None: as for all, or where it says its layout, as they are called there."""


Given = str | tuple[str | GivenFile, ...]
"""One file by its path, or several."""


def read_data(value: Any) -> Given | None:
    """Return what was given for ``data``, checked; raises ``ValueError``, which says what it is not.

    >>> read_data(["a.jsonl", {"path": "b.csv", "format": "text"}])
    ('a.jsonl', GivenFile(path='b.csv', format='text', columns=None))
    """
    if value is None or isinstance(value, str | os.PathLike):
        return None if value is None else _path(value)
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty list; name a file")
        return tuple(_one(item) for item in value)
    raise ValueError("is neither a file nor a list of files")


def files_of(given: Given | None) -> tuple[GivenFile, ...]:
    """Return the files that were given, in their order."""
    several = () if given is None else (given,) if isinstance(given, str) else given
    return tuple(GivenFile(path=one) if isinstance(one, str) else one for one in several)


def without_own(given: Given | None) -> Given | None:
    """Return the same files, none of which says how it is read by itself."""
    return given if given is None or isinstance(given, str) else tuple(one.path for one in files_of(given))


def _one(item: Any) -> str | GivenFile:
    if isinstance(item, GivenFile):
        return item
    if not isinstance(item, Mapping):
        return _path(item)
    known = [field.name for field in dataclasses.fields(GivenFile)]
    for name in item:
        if name not in known:
            raise ValueError(
                f"has {shown(name)} beside a file{nearest(str(name), known)}; {', '.join(known)} may be said"
            )
    columns, layout = item.get("columns"), item.get("format")
    if not isinstance(columns, str | Mapping | None):
        raise ValueError(f"has {shown(columns)} for columns, which is no mapping of roles to columns")
    for role, named in columns.items() if isinstance(columns, Mapping) else ():
        several = named if isinstance(named, list) else [named]
        if not isinstance(role, str) or not all(isinstance(one, str) for one in several):
            raise ValueError(f"has {shown(role)}: {shown(named)} for columns; each is the text of a name")
    if not isinstance(layout, str | None):
        raise ValueError(f"has {shown(layout)} for a format")
    return GivenFile(path=_path(item.get("path")), format=layout, columns=columns)


def _path(value: Any) -> str:
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"names {shown(value)}, which is no file; write a path, or path: with columns:")
    text = os.fspath(value)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("is empty" if isinstance(value, str) else "is no text")
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    return text
