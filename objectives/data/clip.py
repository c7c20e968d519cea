"""Cuts a text that is far longer than any example before it is tokenized, so that no record fills the memory.

What is left is still longer than an example may be, so it is cut again, by tokens, and counted there.
"""

from __future__ import annotations

import dataclasses

from .formats import Conversation, PlainText

LEAST_CHARACTERS = 1_000_000
"""Shorter records are never cut here."""

CHARACTERS_OF_A_TOKEN = 256
"""No tokenizer has tokens that are longer than this, but for runs of one character."""


def characters_kept(cutoff_len: int) -> int:
    """Return how many characters of a record are enough to make ``cutoff_len`` tokens."""
    return max(LEAST_CHARACTERS, CHARACTERS_OF_A_TOKEN * cutoff_len)


def clip(parsed: Conversation | PlainText, characters: int) -> Conversation | PlainText:
    """Return a record without what follows so many characters; a conversation goes on to its next answer."""
    if isinstance(parsed, PlainText):
        return parsed if len(parsed.text) <= characters else PlainText(text=parsed.text[:characters])
    if sum(len(turn.content) for turn in parsed.turns) <= characters:
        return parsed
    turns = []
    seen = 0
    for turn in parsed.turns:
        turns.append(dataclasses.replace(turn, content=turn.content[:characters]))
        seen += len(turn.content)
        if seen > characters and turn.role == "assistant" and any(one.trained for one in turns):
            break
    return dataclasses.replace(parsed, turns=tuple(turns))
