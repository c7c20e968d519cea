"""Which column of a file says what: by a format's names, by the user's ``--columns``, or by names that fit.

Also finds the column that would be left unused though it is likely a label or a context. Knows nothing of
files, templates or tokens.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...errors import DataError, nearest
from ...study.config import RULES, DataConfig
from ...study.facts import ColumnUse
from .formats import FORMATS, Conversation, PlainText, RecordError, parse_record

MORE: dict[str, tuple[str, ...]] = {
    "messages": ("system", "tools"),
    "sharegpt": ("system", "tools"),
    "prompt_completion": ("system", "tools"),
    "alpaca": ("input", "history", "system", "tools"),
    "text": (),
}
"""The fields that a record of each format may have beside those that it must have."""

USES = {
    "messages": "conversation",
    "conversations": "conversation",
    "prompt": "prompt",
    "completion": "answer",
    "instruction": "prompt",
    "input": "prompt",
    "output": "answer",
    "history": "earlier turns",
    "system": "system turn",
    "tools": "tools",
    "text": "text",
}
"""What each field is, in words."""

COLUMNS_KEPT = 200
"""Columns that are accounted for by name; a file with more of them has records as its fields."""

_PROMPTS = ("prompt", "question", "query", "instruction", "input")
_ANSWERS = ("completion", "answer", "response", "output")
_LABELS = {
    *("label", "labels", "category", "categories", "class", "classes", "target", "targets"),
    *("intent", "intents", "sentiment", "sentiments", "emotion", "topic", "tag", "tags"),
}
_CONTEXTS = {
    *("context", "contexts", "passage", "passages", "document", "documents", "paragraph", "paragraphs"),
    *("article", "background", "evidence"),
}
_MERELY_ABOUT = {"id", "ids", "idx", "index", "url", "uri", "link", "length", "len", "count", "hash", "date"}

Parsed = Conversation | PlainText


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
    """What the fields of a file's records are; made by ``survey``."""

    records: int
    """Records looked at, readable or not."""
    filled: Mapping[str, int]
    """Each field with the number of records in which it is not empty, in the order of their appearance."""
    votes: Mapping[str, int]
    """Each format with the number of records that have its fields, and those of no format before it."""
    whole: bool
    """Whether it is known of the whole file; False where looking took too long."""
    single: bool
    """Whether the file is one JSON object, which may be a record or a collection of another shape."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """How the records of one file are read."""

    format: str
    """The format."""
    columns: tuple[str, ...]
    """Each ``role=column``; empty where the columns have the format's own names."""
    rules: int = RULES
    """Version of the rules of reading."""

    def parse(self, record: Mapping[str, Any]) -> Parsed:
        """Return what a record says; raises ``RecordError``."""
        if self.columns:
            record = renamed(record, self.columns, FORMATS[self.format])
        return parse_record(record, self.format, rules=self.rules)

    def uses(self, file: str, survey: Survey) -> tuple[ColumnUse, ...]:
        """Return what each column of the file is used for."""
        used = self._used()
        names = list(survey.filled)[:COLUMNS_KEPT]
        return tuple(ColumnUse(file=file, name=name, used_as=used.get(name, "")) for name in names)

    def unused(self, survey: Survey) -> list[str]:
        """Return the columns that hold something and are not read."""
        used = self._used()
        return [name for name, count in survey.filled.items() if count and name not in used]

    def _used(self) -> dict[str, str]:
        if self.columns:
            return {column: USES[role] for role, column in pairs(self.columns)}
        return {name: USES[name] for name in (*FORMATS[self.format], *MORE[self.format])}


def parse_columns(given: str | Mapping[str, Any]) -> tuple[str, ...]:
    """Read ``prompt=question,context,completion=answer``, or the same as a mapping, as (role=column, …).

    A column without a role of its own belongs to the role before it. Raises ``DataError``.
    """
    found: list[tuple[str, str]] = []
    if isinstance(given, str):
        role = ""
        for part in given.split(","):
            named, mark, column = part.partition("=")
            if mark:
                role = named.strip()
            found.append((role, (column if mark else named).strip()))
    else:
        for name, columns in given.items():
            found += [(name, str(column)) for column in ([columns] if isinstance(columns, str) else columns)]
    example = "such as prompt=instruction,context,completion=output"
    for role, column in found:
        if not role or not column:
            raise DataError(f"columns: {given!r} is no list of role=column, {example}")
        if role not in USES:
            raise DataError(
                f"columns: {role!r} is no role{nearest(role, USES)}: one of {', '.join(USES)}, {example}"
            )
    if len(set(found)) < len(found):
        raise DataError(f"columns: {given!r} names a column twice for one role")
    columns = tuple(f"{role}={column}" for role, column in found)
    _format_of(columns)
    return columns


def pairs(columns: Iterable[str]) -> list[tuple[str, str]]:
    """Return (role, column) of each ``role=column``; a column's name may hold the sign, a role's does not."""
    return [(role, column) for role, _, column in (one.partition("=") for one in columns)]


def check_columns(columns: Sequence[str], format: str) -> None:  # noqa: A002
    """Raise ``DataError`` where the roles belong to another format than the one that was named."""
    fits = _format_of(columns)
    if format not in ("auto", fits):
        raise DataError(f"columns: gives the roles of {fits}, but --format is {format}: leave out --format")


def choose(name: str, survey: Survey, config: DataConfig) -> Reading:
    """Return how a file's records are read.

    Raises:
        DataError: no format fits, a column of ``--columns`` is not there, or one that is likely a label or a
            context would be left unused.
    """
    if config.columns is not None:
        check_columns(config.columns, config.format)
        for _, column in pairs(config.columns):
            if column not in survey.filled:
                raise DataError(
                    f"columns: {name} has no column {column!r}{nearest(column, survey.filled)}; "
                    f"it has {listed(survey.filled)}"
                )
        return Reading(format=_format_of(config.columns), columns=config.columns, rules=config.rules)
    if config.format != "auto":
        return Reading(format=config.format, columns=(), rules=config.rules)
    if survey.votes:
        best = max(survey.votes, key=lambda one: survey.votes[one])
        reading = Reading(format=best, columns=(), rules=config.rules)
    else:
        reading = _by_other_names(name, survey, config.rules)
    if config.rules >= 2:
        _check_unused(name, reading, survey)
    return reading


def renamed(record: Mapping[str, Any], columns: Sequence[str], needed: Sequence[str]) -> dict[str, Any]:
    """Return a record under the roles' names; several columns of a role are joined by an empty line.

    Raises:
        RecordError: a role that is needed has nothing in it.
    """
    values: dict[str, list[Any]] = {}
    for role, column in pairs(columns):
        value = record.get(column)
        values.setdefault(role, [])
        if value is not None and value != "":
            values[role].append(value)
    for role in needed:
        if not values.get(role):
            names = [repr(column) for one, column in pairs(columns) if one == role]
            raise RecordError(
                f"{' and '.join(names)}, its {USES[role]}, {'is' if len(names) == 1 else 'are'} empty"
            )
    return {role: _joined(role, found) for role, found in values.items() if found}


def _joined(role: str, values: list[Any]) -> Any:
    # A label may be a number or a truth value; JSON's word for it is what a CSV file holds.
    words = {True: "true", False: "false"}
    texts = [
        words[value] if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value
        for value in values
    ]
    if len(texts) == 1:
        return texts[0]
    if not all(isinstance(text, str) for text in texts):
        raise RecordError(f"the columns of {role!r} must be text to be joined")
    return "\n\n".join(texts)


def _format_of(columns: Sequence[str]) -> str:
    """Return the format that the roles belong to; raises ``DataError``."""
    roles = list(dict.fromkeys(role for role, _ in pairs(columns)))
    for format, needed in FORMATS.items():  # noqa: A001
        if set(needed) <= set(roles):
            other = [role for role in roles if role not in (*needed, *MORE[format])]
            if other:
                raise DataError(f"columns: {other[0]!r} does not go with {' and '.join(needed)}")
            return format
    for needed in FORMATS.values():
        missing = [role for role in needed if role not in roles]
        if len(missing) < len(needed):
            example = ",".join(f"{role}=…" for role in needed)
            raise DataError(
                f"columns: {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing beside "
                f"{listed(role for role in needed if role in roles)}; write {example}"
            )
    options = "; ".join(" and ".join(needed) for needed in FORMATS.values())
    raise DataError(f"columns: no record is made of {listed(roles)} alone; give one of: {options}")


def _by_other_names(name: str, survey: Survey, rules: int) -> Reading:
    """Return the reading of a file whose columns are called otherwise than in any format."""
    of = {column.strip().lower(): column for column, count in survey.filled.items() if count}
    prompts = [one for one in _PROMPTS if one in of]
    answers = [one for one in _ANSWERS if one in of]
    columns: tuple[str, ...]
    if prompts and answers and rules >= 2:
        if len(answers) == 1 and prompts == ["instruction", "input"]:
            columns = (
                f"instruction={of['instruction']}",
                f"input={of['input']}",
                f"output={of[answers[0]]}",
            )
            return Reading(format="alpaca", columns=columns, rules=rules)
        if len(answers) == 1 and len(prompts) == 1:
            columns = (f"prompt={of[prompts[0]]}", f"completion={of[answers[0]]}")
            return Reading(format="prompt_completion", columns=columns, rules=rules)
        example = _flag((f"prompt={of[prompts[0]]}", f"completion={of[answers[0]]}"))
        raise DataError(
            f"{name} has the columns {listed(of[one] for one in (*prompts, *answers))}: which is the prompt "
            f"and which the answer is not certain, so say it, such as {example}"
        )
    if "text" in of and rules >= 2:
        return Reading(format="text", columns=(f"text={of['text']}",), rules=rules)
    shape = "is one JSON object, not a list of records, with" if survey.single else "has records with"
    expected = "; ".join(f"{' and '.join(needed)} ({one})" for one, needed in FORMATS.items())
    raise DataError(
        f"{name} {shape} the fields {listed(survey.filled)}: none of the known formats, {expected}"
        + ("" if survey.single else "; or name yours: --columns prompt=…,completion=…")
    )


def _check_unused(name: str, reading: Reading, survey: Survey) -> None:
    """Raise ``DataError`` where a column that is likely a label or a context is not read."""
    for column in reading.unused(survey):
        words = set(re.findall(r"[a-z]+", column.lower()))
        if words & _MERELY_ABOUT:
            continue
        if words & _CONTEXTS:
            kind = "a context"
        elif words & _LABELS and reading.format not in ("messages", "sharegpt"):
            kind = "a label"
        else:
            continue
        without = f"--format {reading.format}" if not reading.columns else _flag(reading.columns)
        raise DataError(
            f"{name}: the column {column[:40]!r} looks like {kind} and would not be used; "
            f"give {without} to train without it, or name what each is: {_suggestion(reading, column, kind)}"
        )


def _suggestion(reading: Reading, column: str, kind: str) -> str:
    """Return a mapping that uses the column as well."""
    needed = FORMATS[reading.format]
    own = list(pairs(reading.columns)) or [(role, role) for role in needed]
    if reading.format == "text":
        text = own[0][1]
        found = (
            [("prompt", text), ("completion", column)]
            if kind == "a label"
            else [("text", column), ("text", text)]
        )
    elif reading.format in ("messages", "sharegpt"):
        found = [*own, ("system", column)]
    else:
        answers = [(role, name) for role, name in own if USES[role] == "answer"]
        asked = [(role, name) for role, name in own if USES[role] != "answer"]
        found = [*asked, (asked[0][0], column), *answers]
        if reading.format == "alpaca":
            found = [(("completion" if role == "output" else "prompt"), name) for role, name in found]
    return _flag([f"{role}={name}" for role, name in found])


def _flag(columns: Sequence[str]) -> str:
    """Return ``--columns`` with what it takes, as it is typed."""
    parts: list[str] = []
    before = ""
    for role, column in pairs(columns):
        parts.append(column if role == before else f"{role}={column}")
        before = role
    return f"--columns {shlex.quote(','.join(parts))}"


def listed(names: Iterable[str]) -> str:
    """Return names in quotes, six at most."""
    quoted = [repr(str(name)[:40]) for name in names]
    if len(quoted) > 6:
        return ", ".join(quoted[:6]) + f" and {len(quoted) - 6} more"
    return ", ".join(quoted) or "none"
