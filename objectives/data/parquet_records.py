"""Reads Parquet a record at a time, as the records were before their columns were made alike.

Arrow gives every object of a column the fields of all of them, null where an object had none. Knows nothing
of what the fields mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...errors import DataError

_ROWS = 256

Plain = Callable[[Any], Any]


def parquet_records(path: Path, *, padded: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row with its position from 1, without the fields that are null.

    ``padded`` keeps the nulls inside of objects, as the first rules of reading did. A null that somebody
    wrote there cannot be told from one that Arrow put there; those of a list are the user's and stay.

    Raises:
        DataError: the file is no Parquet, or damaged.
    """
    import pyarrow
    import pyarrow.parquet

    position = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                types = zip(batch.schema.names, batch.schema.types, strict=True)
                plain = {name: None if padded else _plain(kind) for name, kind in types}
                for record in batch.to_pylist():
                    position += 1
                    yield (
                        position,
                        {
                            name: value if (make := plain[name]) is None else make(value)
                            for name, value in record.items()
                            if value is not None
                        },
                    )
    except (pyarrow.ArrowException, OSError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise DataError(f"{path.name} is no readable Parquet file: {words}") from error


def _plain(kind: Any) -> Plain | None:
    """Return what makes a value of an Arrow type what it would be in JSON; None where it is that already."""
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    if types.is_struct(kind):
        fields = {field.name: _plain(field.type) for field in kind}
        return lambda value: None if value is None else _object(value.items(), fields.get)
    if types.is_map(kind):
        item = _plain(kind.item_type)
        return lambda value: None if value is None else _object(dict(value).items(), lambda _: item)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        if inner is None:
            return None
        return lambda value: None if value is None else [inner(item) for item in value]
    return None


def _object(items: Any, plain_of: Callable[[str], Plain | None]) -> dict[str, Any]:
    found = {}
    for name, value in items:
        if value is not None:
            make = plain_of(name)
            found[name] = value if make is None else make(value)
    return found
