"""What became of the data, in words: which columns are used, and why records are left out."""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import grouped, numbered
from ..study.facts import ColumnUse, LeftOut
from ..study.format import join

COLUMNS_SHOWN = 8
"""Unused columns that are named, of those that are counted."""


def column_lines(columns: Sequence[ColumnUse]) -> list[str]:
    """Return what the columns of the files are used for, one line where all files have the same."""
    found: dict[str, str] = {}
    for file in dict.fromkeys(use.file for use in columns):
        uses: dict[str, list[str]] = {}
        for use in columns:
            if use.file == file:
                uses.setdefault(use.used_as, []).append(use.name)
        unused = uses.pop("", [])
        words = "; ".join(f"{used_as}: {join(names)}" for used_as, names in uses.items())
        if unused:
            more = len(unused) - COLUMNS_SHOWN
            named = unused if more <= 0 else [*unused[:COLUMNS_SHOWN], f"{more} more"]
            words += f"; not used: {join(named)}"
        found.setdefault(words, file)
    return list(found) if len(found) == 1 else [f"{file}: {words}" for words, file in found.items()]


def reason_line(found: LeftOut) -> tuple[str, str]:
    """Return how many records there are of a kind, and what is so of them with the first of their places."""
    places = ", ".join(found.places) + (", …" if found.count > len(found.places) else "")
    return numbered(found.count, "record"), f"{found.reason}  ({places})"


def cut_words(truncated: int, examples: int, ends_lost: int) -> str:
    """Return how many examples were cut, and what they lost."""
    lost = (
        f", where {numbered(ends_lost, 'answer')} lost the end and the stop token with it"
        if ends_lost
        else ""
    )
    # Turns are counted beside examples.
    several = " (an example of several turns has several answers)" if ends_lost > truncated else ""
    return f"{grouped(truncated)} of {numbered(examples, 'example')} cut to length{lost}{several}"


MANY_CUT = 0.1
"""Share of examples cut from which on a plan says what to do about it."""


def cut_note(truncated: int, examples: int, cutoff_len: int, *, is_context: bool) -> str | None:
    """Return what to do where many examples are cut, None where few are.

    ``is_context`` says whether the length is the model's own limit rather than the user's choice.
    """
    if truncated < MANY_CUT * examples or not truncated:
        return None
    cure = (
        "that is all that the model takes, so shorten the examples, or choose a model with a longer context"
        if is_context
        else "give a larger --cutoff-len, or shorten them"
    )
    share = max(1, round(100 * truncated / examples))
    return f"{share} % of the examples are longer than {numbered(cutoff_len, 'token')} and are cut: {cure}."
