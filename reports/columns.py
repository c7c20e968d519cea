"""Which columns a data file has, for the registry of a trainer that fails on one that is not there."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

BOM = "\ufeff"


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
