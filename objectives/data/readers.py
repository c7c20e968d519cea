"""Reads a data file into records: JSON, JSON lines, CSV or Parquet, each record with its place in the file.

Records come one at a time, so a file of any size takes little memory. Knows nothing of what the fields mean,
of templates or of tokens.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ...errors import DataError, nearest
from ...study.config import RULES
from .json_records import Record, is_record, line_records, list_records, whole_record
from .parquet_records import parquet_records
from .text_lines import BLOCK, pieces, unreadable

_LARGEST_CSV_FIELD = 1 << 30
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")

Found = tuple[int, Record | str]
"""A place in the file, and the record there or the reason why it is none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordFile:
    """A file of records; made by ``open_records``."""

    path: Path
    """Where it lies."""
    encoding: str
    """Encoding of its text."""
    shape: Literal["lines", "list", "object", "csv", "parquet"]
    """How its records lie in it: in lines of JSON, a JSON list, one JSON object, rows or columns."""
    rules: int = RULES
    """Version of the rules of reading, as ``DataConfig.rules``."""
    called: str | None = None
    """What messages call it; None: by its name."""

    @property
    def name(self) -> str:
        """The file's name, as messages give it."""
        return self.called or self.path.name

    @property
    def place(self) -> str:
        """What the places count: ``line`` or ``record``."""
        return "line" if self.shape in ("lines", "csv") else "record"

    @property
    def columnar(self) -> bool:
        """Whether every record has the same fields, those of the first."""
        return self.shape in ("csv", "parquet")

    @functools.cached_property
    def digest(self) -> str:
        """Hash of the file's bytes."""
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise unreadable(self.path, error) from error

    def read(self) -> Iterator[Found]:
        """Yield every record, from the first, each time it is called.

        Raises:
            DataError: the file is not in its encoding, or broken in a way that leaves nothing after the break
                readable.
        """
        if self.shape == "parquet":
            return parquet_records(self.path, padded=self.rules < 2)
        if self.shape == "csv":
            return _csv(self.name, pieces(self.path, self.encoding, newline=""))
        if self.shape == "list":
            blocks = pieces(self.path, self.encoding, newline="\n", size=BLOCK)
            return list_records(self.name, blocks)
        lines = pieces(self.path, self.encoding, newline="\n")
        if self.shape == "object":
            return iter([(1, whole_record(self.name, "".join(lines)))])
        return line_records(lines)


def open_records(
    path: str | Path, *, encoding: str = "utf-8", rules: int = RULES, called: str | None = None
) -> RecordFile:
    """Look how the records of a file lie in it.

    Raises:
        DataError: there is no such file, it is empty, of an unknown kind, or does not begin in ``encoding``.
    """
    path = Path(path)
    check_file(path)
    shape = _shape(path, encoding)
    return RecordFile(path=path, encoding=encoding, shape=shape, rules=rules, called=called)


def check_file(path: str | Path) -> None:
    """Raise ``DataError`` where a path can be no data file, without reading it."""
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give one data file ({', '.join(_SUFFIXES)})")
    if not path.exists():
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"there is no data file {str(path)!r}{nearest(path.name, siblings)}: check the path")
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(
            f"{path.name}: the extension {path.suffix!r} is not known; "
            f"{', '.join(_SUFFIXES)} are read, so convert or rename it"
        )
    if not path.is_file():
        raise DataError(f"{str(path)!r} is a device or a pipe: data is read more than once, so give a file")
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty: give a file with at least one record")


def _shape(path: Path, encoding: str) -> Literal["lines", "list", "object", "csv", "parquet"]:
    """Say how the records lie in a file; the text, not the extension, tells a JSON list from lines."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return "parquet"
    blocks = pieces(path, encoding, newline="\n", size=BLOCK)
    start = next((stripped for block in blocks if (stripped := block.lstrip())), "")
    if not start:
        raise DataError(f"{path.name} is empty: give a file with at least one record")
    if suffix == ".csv":
        return "csv"
    if start.startswith("["):
        return "list"
    if suffix != ".json":
        return "lines"
    lines = itertools.dropwhile(lambda line: not line.strip(), pieces(path, encoding, newline="\n"))
    return "lines" if is_record(next(lines)) else "object"


def _csv(name: str, lines: Iterator[str]) -> Iterator[Found]:
    csv.field_size_limit(_LARGEST_CSV_FIELD)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise DataError(
                    f"{name}: a quote is opened in line {line} and never closed; the file may have been cut"
                ) from error
            if header is None:
                raise DataError(f"{name}: the header in line {line} is not valid CSV: {error}") from error
            yield line, f"not valid CSV: {error}"
            continue
        if not row:
            continue
        if header is None:
            header = [field.strip() for field in row]
            repeated = sorted({field for field in header if header.count(field) > 1})
            if repeated:
                raise DataError(f"{name}: the header names {repeated[0]!r} twice; rename one of the columns")
        elif len(row) != len(header):
            fields = f"{len(row)} field{'' if len(row) == 1 else 's'}"
            yield line, f"{fields} where the header has {len(header)}"
        else:
            yield line, dict(zip(header, row, strict=True))
