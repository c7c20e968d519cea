"""What a configuration for LLaMA-Factory names, as flags: for whoever hands one to a search's ``--config``.

Keys are those of LLaMA-Factory's documentation (``model_name_or_path``, ``dataset``, ``dataset_dir``,
``template``, ``cutoff_len``, ``quantization_bit``). Looks up the data's file, opens no model.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .trainer_flags import SAME

MODEL = "model_name_or_path"
"""A key that every such file has, and none of ours."""

REGISTRY = "dataset_info.json"
"""Where LLaMA-Factory looks up a data set by its name."""

NO_FILE = "FILE"
"""What stands for a data set whose file is not found."""


def as_flags(path: Path, content: Mapping[str, Any]) -> str:
    """Return the command that searches with what the file names: model, data, template, length, bits.

    What it trains with (learning rate, rank, batch size …) is left out: that is what is searched.

    Args:
        path: the file, beside which a registry of data sets may lie.
        content: what it says.
    """
    words = ["tune", "search", "--model", str(content[MODEL]), "--data", _data(path, content)]
    for key in SAME:
        if content.get(key) is not None:
            words += ["--" + key.replace("_", "-"), str(content[key])]
    return " ".join(word if word == NO_FILE else shlex.quote(" ".join(word.split())) for word in words)


def _data(path: Path, content: Mapping[str, Any]) -> str:
    """Return the file of the first data set; ``FILE`` where the registry does not tell one that is here."""
    first = str(content.get("dataset") or "").split(",")[0].strip()
    given = Path(str(content.get("dataset_dir") or "data")).expanduser()
    for folder in (given, path.parent / given, path.parent):
        try:
            entry = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))[first]
            file = folder / str(entry["file_name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no registry there, or none that tells of this data set
        if file.exists():
            return str(file)
    return NO_FILE
