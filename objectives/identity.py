"""Which files make a base model, and a digest of each: so that a study never goes on with another one.

A loss that is the same to one percent says little: one changed weight among millions passes. Digests are
kept in a file by path, size, time and inode, so that a model is read once and not at every start; what
changes a byte without changing any of these (a failing disk) is not found. Loads no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ..atomic import write_atomically
from .size import hub_folder

WEIGHTS_INDEX = "model.safetensors.index.json"

NAMES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    WEIGHTS_INDEX,
)
"""What is read beside the weights: the architecture, and how text becomes tokens."""

CACHE = "model-digests.json"

Digests = dict[str, str]


def find_folder(name_or_path: str, revision: str | None) -> Path | None:
    """Return where the files of a folder, or of a Hub id's commit, lie on this machine; None: nowhere."""
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder
    snapshot = hub_folder(name_or_path) / "snapshots" / (revision or "none")
    return snapshot if snapshot.is_dir() else None


def files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a model folder that its numbers depend on, weights of every shard included.

    Weights that are no safetensors are never read, so they are no part of it; Python code of its own is.
    """
    weights = {folder / "model.safetensors"}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        if not (folder / "model.safetensors").is_file():
            weights = {folder / str(name) for name in index.get("weight_map", {}).values()}
    candidates = {folder / name for name in NAMES} | weights | set(folder.glob("*.py"))
    # An index that names a file elsewhere is no model's; whoever loads the weights refuses it.
    inside = (path for path in candidates if path.is_relative_to(folder))
    return tuple(sorted(path for path in inside if path.is_file()))


def digests(folder: Path, cache_dir: Path | None = None) -> Digests:
    """Return the SHA-256 of each file that makes a model, by its name; ``cache_dir`` spares a second reading.

    Raises ``OSError`` where a file cannot be read.
    """
    known = _read(cache_dir)
    found: Digests = {}
    read = False
    for file in files(folder):
        place = file.resolve()
        now = place.stat()
        stamp = [now.st_size, now.st_mtime_ns, now.st_ino]
        entry = known.get(str(place))
        if not (isinstance(entry, list) and len(entry) == 4 and entry[:3] == stamp):
            with place.open("rb") as opened:
                entry = [*stamp, hashlib.file_digest(opened, "sha256").hexdigest()]
            known[str(place)] = entry
            read = True
        found[file.relative_to(folder).as_posix()] = str(entry[3])
    if read and cache_dir is not None:
        _write(cache_dir, known)
    return found


def _read(cache_dir: Path | None) -> dict[str, object]:
    """Return what an earlier call kept; an unreadable file is as good as none."""
    if cache_dir is None:
        return {}
    try:
        found = json.loads((cache_dir / CACHE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(cache_dir: Path, known: Mapping[str, object]) -> None:
    """Keep digests for the next call; where that cannot be, the next call reads the model again."""
    with contextlib.suppress(OSError):
        cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(cache_dir / CACHE, [json.dumps(known).encode()], synced=False)
