"""The file of ``--config``: a YAML mapping whose keys are the options of a search.

Only what the file says is handed on; what a flag may override is request.py's matter. Does not look at
models, data or databases.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import SpaceError, UsageError, nearest
from ..integrations.trainer_flags import said_of
from ..spaces.params import NAMES
from ..spaces.parse import configuration, dimensions
from ..yamlfile import read_mapping
from .options import RunOptions, SearchOptions, described, in_file
from .trainer_file import OwnRun, run_of

OF_THE_COMMAND = ("debug",)
"""Flags of every command; no options of a search."""


def read_config(path: Path, flags: Collection[str] = ()) -> tuple[SearchOptions, RunOptions, OwnRun | None]:
    """Return what a config file says; ``model_fields_set`` of each has what it names.

    A trainer's file has a run of its own as well (``trainer_file.py``), over which the ``flags`` go.

    ``set`` and ``enqueue`` stay as they were written (checked), for ``parse.build_space`` and
    ``parse.configuration``. A key may be written with hyphens, as the flag is.

    Raises:
        UsageError: the file cannot be read, or a key or its value is wrong; names the field's path.
    """
    where = " ".join(str(path).split())
    said = read_mapping(path, UsageError, "trials: 24")
    if (theirs := run_of(said, path, flags)) is not None:
        return theirs[0], RunOptions(), theirs[1]
    content: dict[str, Any] = {}
    for key, value in said.items():
        name = key.replace("-", "_")
        if name in content:
            raise UsageError(f"{where}: {name}: is given twice, with hyphens and with underscores")
        content[name] = value
    known = in_file()
    of_one_run = {*OF_THE_COMMAND, *(one.name for one in described(RunOptions))} - known.keys()
    for name in content:
        if name in NAMES:
            raise UsageError(f"{where}: {name}: is a parameter; write it under set:, as set: {{{name}: …}}")
        if name in of_one_run:
            raise UsageError(f"{where}: {name}: belongs to one run; give it as a flag")
        if name not in known:
            hint = said_of(name, known, as_flag=False)
            hint = f"; {hint}" if hint else nearest(name, known)
            raise UsageError(f"{where}: {' '.join(name.split())}: is not known here{hint}")
    # A key left blank is a key left out.
    given = {name: value for name, value in content.items() if value is not None}
    try:
        search = SearchOptions(**{name: given[name] for name in given if known[name] is SearchOptions})
        run = RunOptions(**{name: given[name] for name in given if known[name] is RunOptions})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    path_of = "set"
    try:
        dimensions(search.set or {})
        for index, values in enumerate(search.enqueue or ()):
            path_of = f"enqueue.{index}"
            configuration(values)
    except SpaceError as error:
        raise UsageError(f"{where}: {path_of}.{error}") from None
    return search, run, None
