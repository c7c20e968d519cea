"""Paths in a config file: taken from the working directory, as flags' are and as LLaMA-Factory takes them.

Who means the file's own folder is told so, where that has one of the name and the working directory has not.
Opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelError, UsageError, shown
from ..objectives.folder import local_folder
from ..spaces.presets import PRESETS

PATHS = ("model", "data", "validation", "test", "space")
"""Options that may name a file or a folder which must be there."""


def check_paths(config: Path, said: Iterable[tuple[str, str]]) -> None:
    """Raise ``UsageError`` for a path that is not in the working directory and lies beside the config file.

    Args:
        config: the file.
        said: each of ``PATHS`` that it says, as far as no flag goes over it, with a path.
    """
    for name, value in said:
        beside = config.parent / value
        if Path(value).is_absolute() or value.startswith("~") or _is_found(name, value):
            continue
        if beside.exists():
            where = " ".join(str(config).split())
            raise UsageError(
                f"{where}: {name}: {shown(value)} is looked for in {Path.cwd()}, where the command runs, and "
                f"is not there; the file's folder has one: write {beside}, or run the command there"
            )


def _is_found(name: str, value: str) -> bool:
    """Return whether there is such a path, or it means something else than one."""
    if name == "space" and value in PRESETS:
        return True
    if name == "model":
        try:
            local_folder(value)
        except ModelError:
            return Path(value).exists()  # then something is wrong with it, which others say
        return True
    return Path(value).exists()
