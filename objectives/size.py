"""How many weights a model has, read from the headers of its files: no torch, nothing loaded."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

_MOST_HEADER = 100 * 2**20
"""Longest header that the safetensors format allows."""


def count_parameters(name_or_path: str) -> int | None:
    """Return the number of weights of a model folder, or of a Hub model in the local cache.

    None where it cannot be told without loading or downloading the model.
    """
    folder = _folder_here(name_or_path)
    files = sorted(folder.glob("*.safetensors")) if is_folder(folder) else []
    counts = [_count(file) for file in files]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def shapes_here(name_or_path: str) -> dict[str, tuple[int, ...]]:
    """Return ``weight_shapes`` of a model where ``count_parameters`` looks for it; none if it is not here."""
    folder = _folder_here(name_or_path)
    return weight_shapes(folder) if is_folder(folder) else {}


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight that a model's folder says it holds, in the files' order."""
    found: dict[str, tuple[int, ...]] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        for name, entry in (_header(file) or {}).items():
            shape = entry.get("shape") if isinstance(entry, dict) else None
            if isinstance(shape, list):
                found[name] = tuple(shape)
    return found


def hub_folder(repo: str) -> Path:
    """Return where the local cache holds a Hub model, whether or not it is there."""
    from huggingface_hub import constants  # here, since most commands never ask

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def cached_snapshot(repo: str) -> Path:
    """Return the newest snapshot of a Hub model in the cache, or a folder that does not exist."""
    snapshots = hub_folder(repo) / "snapshots"
    found = [entry for entry in snapshots.iterdir() if entry.is_dir()] if is_folder(snapshots) else []
    return max(found, key=lambda entry: entry.stat().st_mtime, default=snapshots / "none")


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; a name that is too long or may not be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Return whether a path is there and no folder, as ``is_folder`` does."""
    try:
        return path.exists() and not path.is_dir()
    except OSError:
        return False


def _folder_here(name_or_path: str) -> Path:
    """Return a model's folder, or its snapshot in the cache; it may not exist."""
    folder = Path(name_or_path)
    return folder if is_folder(folder) else cached_snapshot(name_or_path)


def _count(file: Path) -> int | None:
    """Return the numbers in a safetensors file, None where it has no readable header."""
    header = _header(file)
    try:
        return None if header is None else sum(int(math.prod(entry["shape"])) for entry in header.values())
    except (KeyError, TypeError):
        return None


def _header(file: Path) -> dict[str, Any] | None:
    """Return what a safetensors file says of its weights, None where it has no readable header."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MOST_HEADER:
                return None
            header = json.loads(opened.read(length))
        return {name: entry for name, entry in header.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError, AttributeError, RecursionError):
        return None
