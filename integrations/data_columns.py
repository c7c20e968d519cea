"""Which columns a data file has and what a study read each as, for the registry of a trainer.

A trainer fails on a column that is not there, and trains on the wrong one without a word.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = {
    "prompt": "prompt",
    "instruction": "prompt",
    "input": "prompt",
    "completion": "answer",
    "output": "answer",
    "text": "text",
}
"""What a column of each field is used as."""


def read_as(
    fields: Iterable[str], given: Sequence[str] | None, used: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return the columns that a study read each field of its format from; empty where by the fields' names.

    Args:
        fields: those of the format that a prompt, an answer or a text may lie in.
        given: ``--columns``, each ``role=column``.
        used: what each column was used as, in words; empty in a study of before.

    >>> read_as(("prompt", "completion"), None, {"Question": "prompt", "answer": "answer"})
    {'prompt': ('Question',), 'completion': ('answer',)}
    >>> read_as(("prompt", "completion"), None, {"prompt": "prompt", "Answer": "answer"})
    {'prompt': ('prompt',), 'completion': ('Answer',)}
    """
    found: dict[str, tuple[str, ...]] = {}
    if given:
        for role, _, column in (one.partition("=") for one in given):
            found[role] = (*found.get(role, ()), column)
        return found
    fields = tuple(fields)
    if all(column in fields for column, words in used.items() if words in WORDS.values()):
        return {}
    for field in fields:
        alike = [column for column, words in used.items() if words == WORDS.get(field)]
        # Of two prompts, an instruction and its input, each is the one that has the field's name.
        named = [column for column in alike if column.strip().lower() == field]
        if chosen := named or (alike if len(alike) == 1 else []):
            found[field] = (chosen[0],)
    return found


def columns_of(path: Path, encoding: str = "utf-8") -> dict[str, Any]:
    """Return each column with one of its values that is not null; empty where the file cannot be read.

    A column counts when any record has it, as the ``datasets`` library sees a file.
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            with path.open("rb") as opened:  # pyarrow takes no path whose bytes are no text
                return dict.fromkeys(pyarrow.parquet.read_schema(opened).names)
        text = encoding if encoding.lower().replace("_", "-") != "utf-8" else "utf-8-sig"
        with path.open(encoding=text, newline="" if path.suffix == ".csv" else None) as file:
            if path.suffix == ".csv":
                return dict.fromkeys(next(csv.reader(file), []))
            if path.suffix == ".json":
                return _union(_records(file.read()))
            return _union(_parsed(line) for line in file)
    except (OSError, ValueError, LookupError):
        return {}


def _records(text: str) -> list[Any]:
    """Return the records of a ``.json`` file: a list, or one object per line under the wrong ending."""
    try:
        loaded = json.loads(text)
    except ValueError:
        return [_parsed(line) for line in text.splitlines()]
    return loaded if isinstance(loaded, list) else [loaded]


def _parsed(line: str) -> Any:
    """Return a line's record; a bad line was already named when the study was made."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _union(records: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records:
        if isinstance(record, dict):
            for name, value in record.items():
                if found.get(name) is None:
                    found[name] = value
    return found
