"""Tokenized data on disk: one file of plain arrays, written atomically, mapped into every worker's memory.

A file that is torn, foreign or of another layout is as good as none: it is made again. Knows nothing of what
the arrays mean.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from ... import digest
from ...atomic import write_atomically
from ...errors import DamagedFile

LAYOUT = 5
"""Grows when the same input would give other tokens or another file."""

_DTYPES = {"I32": np.int32, "I64": np.int64, "BOOL": np.bool_}

Arrays = dict[str, npt.NDArray[Any]]
T = TypeVar("T")

_logger = logging.getLogger(__name__)


def path_of(cache_dir: Path, key: str) -> Path:
    """Return where the data of a key lies."""
    return cache_dir / f"tokens-{key[:32]}.safetensors"


def load(cache_dir: Path | None, key: str, make: Callable[[Arrays, dict[str, Any]], T]) -> T | None:
    """Return ``make(arrays, summary)`` of the stored data, or None where there is none that is whole."""
    if cache_dir is None:
        return None
    path = path_of(cache_dir, key)
    return _read(path, make, lambda metadata: bool(metadata["key"] == key))


def find(
    cache_dir: Path | None,
    holds: Callable[[dict[str, Any]], bool],
    make: Callable[[Arrays, dict[str, Any]], T],
) -> T | None:
    """Return ``make(arrays, summary)`` of stored data whose summary is the one sought, None where none is."""
    if cache_dir is None:
        return None
    for path in sorted(cache_dir.glob("tokens-*.safetensors")):
        try:
            sought = holds(json.loads(_header(path)[0]["__metadata__"]["summary"]))
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue  # whoever looks for it by its key says so, and makes it again
        if sought:
            return _read(path, make, lambda _: True)
    return None


def remove(cache_dir: Path, holds: Callable[[dict[str, Any]], bool]) -> int:
    """Delete stored data whose summary is one sought; return the bytes freed."""
    freed = 0
    for path in sorted(cache_dir.glob("tokens-*.safetensors")):
        try:
            if holds(json.loads(_header(path)[0]["__metadata__"]["summary"])):
                size = path.stat().st_size
                path.unlink()
                freed += size
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            continue  # as good as none, or gone meanwhile
    return freed


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return what a file says of its arrays, and where these begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than the file")
        return json.loads(file.read(length)), 8 + length


def _read(
    path: Path, make: Callable[[Arrays, dict[str, Any]], T], right: Callable[[dict[str, Any]], bool]
) -> T | None:
    """Return ``make(arrays, summary)`` of a file, None where it is absent, damaged or another."""
    try:
        if not digest.check(path):
            raise ValueError("it carries no digest")
        header, begin = _header(path)
        metadata = header.pop("__metadata__")
        if not right(metadata):
            raise ValueError("it holds other data")
        body = np.memmap(path, dtype=np.uint8, mode="r")[begin:]
        arrays: Arrays = {
            name: np.asarray(body[slice(*entry["data_offsets"])]).view(_DTYPES[entry["dtype"]])
            for name, entry in header.items()
        }
        return make(arrays, json.loads(metadata["summary"]))
    except FileNotFoundError:
        return None
    # Whatever a foreign file holds, the data can be made again.
    except (
        DamagedFile,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        _logger.warning("%s is not usable and is made again: %s", path, error)
        return None


def store(cache_dir: Path | None, key: str, arrays: Mapping[str, npt.NDArray[Any]], summary: Any) -> None:
    """Store data; a disk that does not take it costs the sharing, not the run."""
    if cache_dir is None:
        return
    try:
        _write(path_of(cache_dir, key), key, arrays, summary)
    except OSError as error:
        _logger.warning("the tokenized data could not be kept in %s: %s", cache_dir, error)


def _write(path: Path, key: str, arrays: Mapping[str, npt.NDArray[Any]], summary: Any) -> None:
    """Write a file under a name of its own, sync it and rename it, so that it is whole or absent."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    metadata = {"key": key, "summary": json.dumps(summary), **digest.LABELS}
    content = digest.seal(safetensors.numpy.save(plain, metadata=metadata))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
