"""The data sets that a configuration for LLaMA-Factory names, as files and columns: by its registry.

A registry (``dataset_info.json``) says of each name which file it is, in which layout, and how its columns
are called. Reads registries alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, shown

_ALPACA = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "system": "system",
    "tools": "tools",
}
"""Its names of columns → the fields of our format ``alpaca``."""

_ROLE_TAGS = {"from": "conversations", "role": "messages"}
"""What a turn says who speaks by → the field that our format of such turns has them in."""

_READ = frozenset({"file_name", "formatting", "columns", "tags"})
"""Keys of an entry that are read here."""

_OTHER = frozenset({"ranking", "images", "videos", "audios", "kto_tag", "chosen", "rejected"})
"""What makes records more than texts to learn."""

REGISTRY = "dataset_info.json"
"""Where LLaMA-Factory looks up a data set by its name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSets:
    """What to train on, and what to evaluate on if that was named."""

    options: Mapping[str, Any]
    """Options of a search: ``data``, ``validation``, ``columns``, ``format``."""
    notes: tuple[str, ...]
    """What is otherwise here than there, in clauses."""


def data_sets(given: Mapping[str, Any], path: Path) -> DataSets:
    """Return the files of a configuration's data sets.

    Args:
        given: what the configuration says.
        path: its file, beside which the registry may lie.

    Raises:
        UsageError: there is no such file here, there are several, or it is none of texts to learn.
    """
    trained = _look_up(given, "dataset", path)
    options: dict[str, Any] = {"data": str(trained.file), **trained.options}
    notes = trained.notes
    if given.get("eval_dataset"):
        evaluated = _look_up(given, "eval_dataset", path)
        if evaluated.options != trained.options:
            raise UsageError(
                "eval_dataset: its columns are called otherwise than those of dataset; bring them to the "
                "same names, or give both files with --data, --validation and --columns"
            )
        options["validation"] = str(evaluated.file)
    return DataSets(options=options, notes=notes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DataSet:
    file: Path
    options: Mapping[str, Any]
    notes: tuple[str, ...]


def _look_up(given: Mapping[str, Any], key: str, path: Path) -> _DataSet:
    names = given.get(key)
    names = names if isinstance(names, list) else str(names or "").split(",")
    named = [str(name).strip() for name in names if str(name).strip()]
    otherwise = (
        "give the file with --data" if key == "dataset" else "give the files with --data and --validation"
    )
    if not named:
        raise UsageError(f"{key}: is missing; {otherwise}")
    if len(named) > 1:
        raise UsageError(
            f"{key}: names {len(named)} data sets, {', '.join(named)}, and a study reads one file: write "
            f"them into one and {otherwise}"
        )
    (name,) = named
    folder, entry = _entry(given, key, name, path, otherwise)
    if "file_name" not in entry:
        raise UsageError(f"{key}: {shown(name)} is no file of this machine; save it as one and {otherwise}")
    file = folder / str(entry["file_name"])
    if not file.is_file():
        raise UsageError(f"{key}: {file}, the file of {shown(name)}, is not there; {otherwise}")
    columns = entry.get("columns") or {}
    if not isinstance(columns, Mapping) or _OTHER & {*(one for one in entry if entry[one]), *columns}:
        raise UsageError(f"{key}: {shown(name)} holds more than texts to learn, which is not trained here")
    left = [f"{one} {shown(value)}" for one, value in entry.items() if one not in _READ and value]
    notes = (f"of the data set {name} not taken over: {', '.join(left)}",) if left else ()
    return _DataSet(file=file, options=_layout(given, key, name, entry, columns), notes=notes)


def _entry(
    given: Mapping[str, Any], key: str, name: str, path: Path, otherwise: str
) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the registry that knows a data set, and what it says of it."""
    folder = Path(str(given.get("dataset_dir") or "data")).expanduser()
    looked = list(dict.fromkeys((folder, path.parent / folder, path.parent)))
    for one in looked:
        try:
            entry = json.loads((one / REGISTRY).read_text(encoding="utf-8"))[name]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no registry there, or none that tells of this data set
        if isinstance(entry, Mapping):
            return one, entry
    where = " or ".join(str(one / REGISTRY) for one in looked)
    raise UsageError(f"{key}: {shown(name)} is not told of in {where}; {otherwise}")


def _layout(
    given: Mapping[str, Any], key: str, name: str, entry: Mapping[str, Any], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options that say how the file is read."""
    if given.get("stage") == "pt":
        return {"columns": {"text": str(columns.get("prompt", "text"))}, "format": "text"}
    if entry.get("formatting", "alpaca") == "alpaca":
        if not columns:
            return {}
        return {"columns": {_ALPACA[one]: str(said) for one, said in columns.items() if one in _ALPACA}}
    tags = entry.get("tags") or {}
    by = str(tags.get("role_tag", "from"))
    if by not in _ROLE_TAGS:
        raise UsageError(
            f"{key}: the turns of {shown(name)} say by {shown(by)} who speaks; bring them to role and content"
        )
    field = _ROLE_TAGS[by]
    turns = {"messages": field, "system": "system", "tools": "tools"}
    found = {turns[one]: str(said) for one, said in columns.items() if one in turns}
    return {"columns": found} if found else {}
