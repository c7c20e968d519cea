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
from .data_columns import columns_of

_ALPACA = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "system": "system",
    "tools": "tools",
}
"""Its names of columns → the fields of our format ``alpaca``."""

_UNNAMED = frozenset({"history", "system", "tools"})
"""Fields of records that are read there only where the registry names a column for them."""

_TURNS = {"from": ("conversations", "value"), "role": ("messages", "content")}
"""What a turn says who speaks by → the field that our format has such turns in, and that of their text."""

_SPEAKERS = {
    "user_tag": ("user", "human"),
    "assistant_tag": ("assistant", "gpt", "model", "bot", "ai"),
    "system_tag": ("system", "developer"),
    "observation_tag": ("tool", "function", "observation"),
    "function_tag": ("function_call",),
}
"""What speakers are called where our formats know them."""

_HUBS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url")
"""Keys of an entry that is loaded from elsewhere, whatever file it names."""

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
    """Options of a search: ``data``, ``validation``, ``columns``, ``format``; the last two of each of several
    files by itself where they are not read alike."""
    records: tuple[int | None, ...]
    """Records that are taken of each file to train on at most; None for all."""
    mixed: bool
    """Whether several are mixed there, so that some records come more than once or never."""
    notes: tuple[str, ...]
    """What is otherwise here than there, in clauses."""


def data_sets(given: Mapping[str, Any], path: Path) -> DataSets:
    """Return the files of a configuration's data sets.

    Args:
        given: what the configuration says.
        path: its file, beside which the registry may lie.

    Raises:
        UsageError: there is no such file here, several are named to evaluate on, or one is none of texts to
            learn.
    """
    trained = [_look_up(given, "dataset", name, path) for name in _names(given, "dataset")]
    first = trained[0]
    alike = all(one.options == first.options for one in trained)
    options: dict[str, Any] = {"data": str(first.file), **(first.options if alike else {})}
    if len(trained) > 1:
        options["data"] = [{"path": str(one.file), **({} if alike else one.options)} for one in trained]
    if given.get("eval_dataset"):
        (name,) = _names(given, "eval_dataset")
        evaluated = _look_up(given, "eval_dataset", name, path)
        if evaluated.options != first.options:
            raise UsageError(
                f"eval_dataset: its columns are called otherwise than those of {first.name}; bring them to "
                "the same names, or give both files with --data, --validation and --columns"
            )
        options["validation"] = str(evaluated.file)
    notes = [note for one in trained for note in one.notes]
    strategy = given.get("mix_strategy", "concat")
    mixed = len(trained) > 1 and strategy != "concat"
    if mixed:
        notes.append(
            f"the data sets are joined one after the other, each record once, not mixed by {shown(strategy)}"
        )
    return DataSets(
        options=options,
        records=tuple(one.records for one in trained),
        mixed=mixed,
        notes=tuple(notes),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DataSet:
    name: str
    file: Path
    options: Mapping[str, Any]
    records: int | None
    notes: tuple[str, ...]


_OTHERWISE = {
    "dataset": "give the file with --data",
    "eval_dataset": "give the files with --data and --validation",
}
"""What to do where a data set of a key cannot be looked up."""


def _names(given: Mapping[str, Any], key: str) -> list[str]:
    """Return the data sets that a key names; raises ``UsageError`` for none, and several to evaluate on."""
    names = given.get(key)
    names = names if isinstance(names, list) else str(names or "").split(",")
    named = [str(name).strip() for name in names if str(name).strip()]
    if not named:
        raise UsageError(f"{key}: is missing; {_OTHERWISE[key]}")
    if len(named) > 1 and key == "eval_dataset":
        raise UsageError(
            f"{key}: names {len(named)} data sets, {', '.join(named)}, and a study validates on one file: "
            f"write them into one and {_OTHERWISE[key]}"
        )
    if len(set(named)) < len(named):
        (again, *_) = [name for name in named if named.count(name) > 1]
        raise UsageError(
            f"{key}: names {shown(again)} twice, and repeats of a record are left out here; name it once"
        )
    return named


def _look_up(given: Mapping[str, Any], key: str, name: str, path: Path) -> _DataSet:
    otherwise = _OTHERWISE[key]
    folder, entry = _entry(given, key, name, path, otherwise)
    if "file_name" not in entry or any(entry.get(one) for one in _HUBS):
        raise UsageError(f"{key}: {shown(name)} is no file of this machine; save it as one and {otherwise}")
    file = folder / str(entry["file_name"])
    if file.is_dir():
        raise UsageError(f"{key}: {file}, of {shown(name)}, is a folder; write one file and {otherwise}")
    if not file.is_file():
        raise UsageError(f"{key}: {file}, the file of {shown(name)}, is not there; {otherwise}")
    columns = entry.get("columns") or {}
    if not isinstance(columns, Mapping) or _OTHER & {*(one for one in entry if entry[one]), *columns}:
        raise UsageError(f"{key}: {shown(name)} holds more than texts to learn, which is not trained here")
    left = [
        f"{one} {shown(value)}"
        for one, value in entry.items()
        if one not in _READ and value and (one, value) != ("split", "train")
    ]
    notes = (f"of the data set {name} not taken over: {', '.join(left)}",) if left else ()
    samples = entry.get("num_samples")
    return _DataSet(
        name=name,
        file=file,
        options=_layout(given, key, name, entry, columns, file),
        records=samples if isinstance(samples, int) else None,
        notes=notes,
    )


def _entry(
    given: Mapping[str, Any], key: str, name: str, path: Path, otherwise: str
) -> tuple[Path, Mapping[str, Any]]:
    """Return the folder of the registry that knows a data set, and what it says of it."""
    folder = Path(str(given.get("dataset_dir") or "data"))
    looked = list(dict.fromkeys((folder, path.parent / folder, path.parent)))
    for one in looked:
        try:
            text = (one / REGISTRY).read_text(encoding="utf-8")
        except OSError:
            continue  # no registry there
        except ValueError as error:
            raise UsageError(f"{one / REGISTRY}: is not UTF-8 ({error}); mend it, or {otherwise}") from None
        try:
            known = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{one / REGISTRY}: is no JSON ({error}); mend it, or {otherwise}") from None
        entry = known.get(name) if isinstance(known, Mapping) else None
        if isinstance(entry, Mapping):
            return one, entry
    where = " or ".join(str(one / REGISTRY) for one in looked)
    raise UsageError(f"{key}: {shown(name)} is not told of in {where}; {otherwise}")


def _layout(
    given: Mapping[str, Any],
    key: str,
    name: str,
    entry: Mapping[str, Any],
    columns: Mapping[str, Any],
    file: Path,
) -> dict[str, Any]:
    """Return the options that say how the file is read."""
    if given.get("stage") == "pt":
        return {"columns": {"text": str(columns.get("prompt", "text"))}}
    layout = str(entry.get("formatting", "alpaca"))
    if layout not in ("alpaca", "sharegpt"):
        raise UsageError(
            f"{key}: {shown(name)} has the formatting {shown(layout)}, which is not read here; alpaca and "
            "sharegpt are"
        )
    return (
        _fields(columns, file) if layout == "alpaca" else _turns(f"{key}: the turns of {shown(name)}", entry)
    )


def _fields(columns: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Return how records of prompt and response are read: what has no column in the registry is not."""
    if columns:
        return {"columns": {_ALPACA[one]: str(said) for one, said in columns.items() if one in _ALPACA}}
    present = columns_of(file).keys()
    if not present & _UNNAMED:
        return {"format": "alpaca"}
    return {"columns": {field: field for field in _ALPACA.values() if field in present - _UNNAMED}}


def _turns(whose: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return how records of turns are read; raises ``UsageError`` for speakers that no format here knows."""
    tags = entry.get("tags") or {}
    tags = tags if isinstance(tags, Mapping) else {"role_tag": tags}
    by = str(tags.get("role_tag", "from"))
    if by not in _TURNS:
        raise UsageError(f"{whose} say by {shown(by)} who speaks; bring them to role and content")
    field, content = _TURNS[by]
    allowed = {"content_tag": (content,), **_SPEAKERS}
    for tag, said in {"content_tag": "value", **tags}.items():
        if tag in allowed and str(said).lower() not in allowed[tag]:
            raise UsageError(
                f"{whose} have {shown(said)} for {tag}, which is not read so here; bring it to "
                f"{allowed[tag][0]}"
            )
    ours = {"messages": field, "system": "system", "tools": "tools"}
    found = {ours[one]: str(said) for one, said in (entry.get("columns") or {}).items() if one in ours}
    return {"columns": found} if found else {"format": field if by == "role" else "sharegpt"}
