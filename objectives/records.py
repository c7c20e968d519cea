"""Reads a data file into records: JSON, JSON lines, CSV or Parquet, each record with its place in the file.

Knows nothing of what the fields mean, of templates or of tokens.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..spaces.errors import DataError, nearest
from .base import BadRecord

Record = dict[str, Any]

_LARGEST_CSV_FIELD = 1 << 30
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordFile:
    """The records of one file."""

    name: str
    """The file's name, as messages give it."""
    records: tuple[tuple[int, Record], ...]
    """Each with its line (JSON lines, CSV) or its position from 1 (JSON, Parquet)."""
    bad: tuple[BadRecord, ...]
    """What could not be read as a record."""
    place: str
    """What the numbers count: ``line`` or ``record``."""
    single: bool
    """Whether the file is one JSON object, which may be a record or a collection of another shape."""
    digest: str
    """Hash of the file's bytes."""


def read_records(path: str | Path, *, encoding: str = "utf-8") -> RecordFile:
    """Read every record of a file.

    A record that cannot be read is kept as a ``BadRecord`` where the file goes on after it.

    Raises:
        DataError: there is no such file, it is empty, of an unknown kind, not in ``encoding``, or broken
            in a way that leaves nothing after the break readable.
    """
    path = Path(path)
    data = _read_bytes(path)
    suffix = path.suffix.lower()
    single = False
    place = "record"
    if suffix == ".parquet":
        found = list(_parquet(path.name, data))
    else:
        text = _decode(path.name, data, encoding)
        if not text.strip():
            raise DataError(f"{path.name} is empty: give a file with at least one record")
        if suffix == ".csv":
            found, place = list(_csv(path.name, text)), "line"
        else:
            found, place, single = _json(path.name, text, lines=suffix != ".json")
    records = tuple((number, item) for number, item in found if isinstance(item, dict))
    bad = tuple(
        BadRecord(file=path.name, line=number, reason=item, place=place)
        for number, item in found
        if isinstance(item, str)
    )
    if not records and not bad:
        raise DataError(f"{path.name} holds no records: give a file with at least one")
    return RecordFile(
        name=path.name,
        records=records,
        bad=bad,
        place=place,
        single=single,
        digest=hashlib.sha256(data).hexdigest(),
    )


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
    if path.stat().st_size == 0:
        raise DataError(f"{path.name} is empty: give a file with at least one record")


def _read_bytes(path: Path) -> bytes:
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read ({error.strerror}): check its permissions") from error


def _decode(name: str, data: bytes, encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding).name
        # The same encoding with a byte-order mark skipped; UTF-16 and UTF-32 skip theirs by themselves.
        return data.decode("utf-8-sig" if codec == "utf-8" else codec)
    except LookupError as error:
        raise DataError(
            f"{encoding!r} is no known text encoding: --encoding takes names such as utf-8, cp1252 or gb18030"
        ) from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        utf_16 = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        likely = "utf-16" if utf_16 else "cp1252, latin-1 or gb18030"
        raise DataError(
            f"{name} is not {encoding}: byte {error.start} (line {line}) cannot be decoded; "
            f"give its encoding with --encoding, such as {likely}"
        ) from error
    except ValueError as error:
        raise DataError(f"{name} cannot be decoded as {encoding} ({error}): give --encoding") from error


def _json(name: str, text: str, *, lines: bool) -> tuple[list[tuple[int, Record | str]], str, bool]:
    """Read a JSON text whose shape, not its extension, says whether it is a list or one object per line."""
    if text.lstrip().startswith("["):
        items = _whole(name, text)
        return [(number, _record(item)) for number, item in enumerate(items, start=1)], "record", False
    if not lines:
        first = next(line for line in text.split("\n") if line.strip())
        if not isinstance(_loads(first), dict):
            return [(1, _record(_whole(name, text)))], "record", True
    found = [
        (number, _record(_loads(line)))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]
    return found, "line", not lines and len(found) == 1


def _whole(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        left = text[error.pos :].strip()
        how = "the file breaks off there, so it may have been cut" if len(left) < 2 else "mend it there"
        if error.msg.startswith("Unterminated string"):
            how = "a string begins there and never ends, so the file may have been cut"
        raise DataError(
            f"{name} is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}; {how}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{name} cannot be read as JSON: {_short(error)}") from error


def _loads(line: str) -> Any:
    """Return the value of one line, or an exception that says what is wrong with it."""
    try:
        return json.loads(line)
    except (RecursionError, ValueError) as error:
        return error


def _record(item: Any) -> Record | str:
    """Return the record, or the reason why it is none."""
    if isinstance(item, dict):
        return item
    if isinstance(item, json.JSONDecodeError):
        return f"not valid JSON at column {item.colno}: {item.msg}"
    if isinstance(item, Exception):
        return f"not readable as JSON: {_short(item)}"
    kind = {str: "text", list: "a list", bool: "a truth value", type(None): "null"}.get(
        type(item), "a number"
    )
    return f"a record must be a JSON object, not {kind}"


def _short(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split("\n")[0][:120]


def _csv(name: str, text: str) -> Iterator[tuple[int, Record | str]]:
    csv.field_size_limit(_LARGEST_CSV_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
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
            yield line, f"{len(row)} fields where the header has {len(header)}"
        else:
            yield line, dict(zip(header, row, strict=True))


def _parquet(name: str, data: bytes) -> Iterator[tuple[int, Record | str]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name} is no readable Parquet file: {str(error).splitlines()[0][:160]}") from error
    position = 0
    for batch in table.to_batches():
        for record in batch.to_pylist():
            position += 1
            # Parquet gives every row every column, so a null means that the field is absent.
            yield position, {key: value for key, value in record.items() if value is not None}
