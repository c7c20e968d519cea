"""Turns the records of one file into cut, tokenized examples, and says of every other record why it is none.

Knows nothing of splits or of the cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from ..spaces.errors import DataError
from .base import BadRecord
from .encode import Example, encode, ends_lost, truncate
from .formats import Conversation, PlainText, RecordError, parse_record
from .records import RecordFile
from .split import distinct
from .stops import Stops, find_stops
from .templates import Rendered, Template, render_text


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One example, and what it came from."""

    key: bytes
    """Hash of what the record says, whatever the template and the tokenizer."""
    example: Example
    """Its tokens and target mask, cut."""
    cut: bool
    """Whether it was longer."""
    ends_lost: int = 0
    """Answers that lost their end to the cut, and with it their stop token."""


def read_items(
    file: RecordFile,
    format: str,  # noqa: A002
    template: Template | None,
    tokenizer: Any,
    *,
    cutoff_len: int,
) -> tuple[list[Item], list[BadRecord]]:
    """Return the usable examples of a file in its order, and its other records in theirs.

    ``template`` may be None for plain text, which needs none.

    Raises:
        DataError: no record of the file is usable.
    """
    bad = list(file.bad)

    def leave_out(line: int, reason: str) -> None:
        bad.append(BadRecord(file=file.name, line=line, reason=reason, place=file.place))

    lines: list[int] = []
    keys: list[bytes] = []
    rendered: list[Rendered] = []
    stops = find_stops(tokenizer)
    for line, record in file.records:
        try:
            parsed = parse_record(record, format)
            rendered.append(_render(parsed, template, stops))
        except RecordError as error:
            leave_out(line, str(error))
        else:
            lines.append(line)
            keys.append(hashlib.sha256(parsed.canonical().encode()).digest())

    items: list[Item] = []
    lost = 0
    for line, key, whole in zip(lines, keys, encode(rendered, tokenizer), strict=True):
        example = truncate(*whole, cutoff_len)
        if example[1].any():
            items.append(
                Item(
                    key=key,
                    example=example,
                    cut=len(example[0]) < len(whole[0]),
                    ends_lost=ends_lost(whole[1], cutoff_len),
                )
            )
        elif whole[1].any():
            lost += 1
            leave_out(
                line, f"cut from {len(whole[0])} tokens to cutoff_len {cutoff_len}, it has no answer left"
            )
        else:
            leave_out(line, "it has no token to predict")
    bad.sort(key=lambda record: record.line)
    if not items and lost == len(bad):
        raise DataError(
            f"cutoff_len {cutoff_len} leaves nothing of any answer in {file.name}: "
            "give a greater --cutoff-len"
        )
    if not items:
        raise DataError(f"{file.name} has no usable record among {len(bad)}; {first_of(bad)}")
    return items, bad


def without_duplicates(parts: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """Return the lists without repeats of a record or of the same tokens, in one list or in several.

    What a later list holds is left out of the earlier ones.
    """
    kept = [list(part) for part in parts]
    for identity in (_record_key, _tokens_key):
        positions = distinct([[identity(item) for item in part] for part in kept])
        kept = [[part[at] for at in chosen] for part, chosen in zip(kept, positions, strict=True)]
    return kept


def first_of(bad: Sequence[BadRecord]) -> str:
    """Return words for the first of some bad records."""
    return f"the first, {bad[0].place} {bad[0].line}: {bad[0].reason}" if bad else "it is empty"


def _render(parsed: Conversation | PlainText, template: Template | None, stops: Stops) -> Rendered:
    if isinstance(parsed, PlainText):
        return render_text(parsed, stops)
    assert template is not None
    return template.render(parsed)


def _record_key(item: Item) -> bytes:
    return item.key


def _tokens_key(item: Item) -> bytes:
    tokens, target = item.example
    return hashlib.sha256(tokens.tobytes() + target.tobytes()).digest()
