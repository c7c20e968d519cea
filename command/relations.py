"""How the studies of a list belong together: the steps of one search that climbs, and who repeats whom."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import StorageError
from ..storage.store import Store
from .options import at_storage

_WORDS = {"longer": "a step of {search}", "confirm": "confirms {follows}", "train": "trains {follows}"}


def relate(store: Store, rows: Sequence[dict[str, Any]], steps: Mapping[str, int]) -> None:
    """Say in the rows of a list which of them are one search that climbs, and what goes on with it.

    Args:
        store: where they are from.
        rows: what is said of each study, with what it ``follows`` and its ``kind``; filled in here.
        steps: study → how many longer steps it is to be followed by, 0 for most.
    """
    named = {row["study"]: row for row in rows}
    for row in rows:
        row["search"] = _search_of(row, named, steps)
    for name, wanted in steps.items():
        climb = [row for row in rows if row["search"] == name]
        if wanted and climb and _interrupted(store, name, climb, wanted):
            for row in climb:
                row["goes_on_with"] = f"tune resume {name}{at_storage(store.url)}"


def relation_words(row: Mapping[str, Any]) -> str:
    """Return what a study is to another, in words; empty where it is nothing to any."""
    words = _WORDS.get(row["kind"], "")
    return words.format(search=row["search"] or row["follows"], follows=row["follows"])


def interrupted_lines(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return a line for each search that climbs and stopped before its last step."""
    found = {row["search"]: row["goes_on_with"] for row in rows if row["goes_on_with"] is not None}
    return tuple(
        f"{name} was interrupted on its way to the last step; go on with: {command}"
        for name, command in found.items()
    )


def _search_of(
    row: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]], steps: Mapping[str, int]
) -> str | None:
    """Return the search that climbs which a study is, or is a step of; None of others."""
    found: Mapping[str, Any] | None = row
    while found is not None and found["kind"] == "longer":
        found = named.get(found["follows"])
    return found["study"] if found is not None and steps.get(found["study"]) else None


def _interrupted(store: Store, name: str, climb: Sequence[Mapping[str, Any]], wanted: int) -> bool:
    """Return whether nobody runs a search that climbs, and something of it is still to be trained."""
    if any(row["owner"] is not None for row in climb):
        return False
    if any(row["ended"] < row["trials"] for row in climb[1:]):
        return True
    if len(climb) > wanted:
        return False
    with contextlib.suppress(StorageError):  # a list goes without what this version cannot read
        from ..app.climbing import is_left  # what is needed to share out examples is slow to import

        return is_left(store, store.study(name))
    return False
