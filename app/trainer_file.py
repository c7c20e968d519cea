"""A ``--config`` that is written for LLaMA-Factory: the search that it asks for, with its own run as trial 0.

So the search is held against what the user would have trained. The file is read by
``integrations.llamafactory_config``; which trial comes first is first_trials.py's matter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, SpaceError, UsageError
from ..integrations.llamafactory_config import KEYS, MARKS, TrainerRun, read_run
from ..objectives.data.readers import open_records
from ..spaces.params import LoraParams
from ..spaces.parse import configuration
from ..study.format import show_value
from ..study.study_config import DEFAULT
from ..yamlfile import read_mapping
from .data_option import files_of
from .options import SearchOptions, in_file


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnRun:
    """What the user trains with today, by a file of their trainer."""

    name: str
    """The file's name, by which trial 0 goes."""
    params: LoraParams
    """Its hyperparameters."""
    notes: tuple[str, ...]
    """What is otherwise in a search than in the run, in clauses."""

    def values(self) -> dict[str, Any]:
        """Return it as plain values: the file, its hyperparameters in words and by name, the notes."""
        params = self.params.to_dict()
        words = ", ".join(f"{name} {show_value(value)}" for name, value in params.items())
        return {"file": self.name, "params": words, "hyperparameters": params, "notes": list(self.notes)}

    def under(self, schedule: str) -> OwnRun:
        """Return the run under another schedule, and say so."""
        if self.params.lr_scheduler_type == schedule:
            return self
        theirs = self.params.lr_scheduler_type
        note = f"trial 0 has the schedule {schedule} instead of {theirs}, as all trials that go on"
        params = dataclasses.replace(self.params, lr_scheduler_type=schedule)
        return dataclasses.replace(self, params=params, notes=(*self.notes, note))


def read_trainer_file(path: Path, flags: Collection[str] = ()) -> tuple[SearchOptions, OwnRun] | None:
    """Return what a trainer's file asks for; None where the file is not one.

    Args:
        path: the file.
        flags: options that will go over it, by name.

    Raises:
        UsageError: the file cannot be read or is none that can be searched for; names file and key.
    """
    return run_of(read_mapping(path, UsageError, "trials: 24"), path, flags)


def run_of(
    content: Mapping[str, Any], path: Path, flags: Collection[str]
) -> tuple[SearchOptions, OwnRun] | None:
    """Return the same of what a file holds."""
    if not MARKS & content.keys():
        return None
    where = " ".join(str(path).split())
    try:
        _check_ours(content)
        run = read_run(content, path, flags)
        search = SearchOptions(**run.options)
        values = {**run.params, "warmup_ratio": _warmup_ratio(run, search, flags)}
        # It is told apart from the preset's known-good configuration by its name.
        name = path.name if path.name != DEFAULT else f"the file {DEFAULT}"
        own = OwnRun(name=name, params=configuration(values), notes=run.notes)
    except (DataError, SpaceError, UsageError) as error:
        raise UsageError(f"{where}: {error}") from None
    return search, own


def _check_ours(content: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for an option of a search among a trainer's settings."""
    for name in content:
        option = name.replace("-", "_")
        if option in in_file() and option not in KEYS:
            raise UsageError(
                f"{name}: is an option of a search, in a file for LLaMA-Factory; give it as a flag, "
                f"--{option.replace('_', '-')}"
            )


def _warmup_ratio(run: TrainerRun, search: SearchOptions, flags: Collection[str]) -> float:
    """Return the share of the run's steps that warm up; counts the records where it is a number of them."""
    if not run.warmup_steps:
        return run.warmup_ratio
    steps = run.max_steps
    if steps is None:
        if run.packed or run.mixed or search.data is None or "data" in flags:
            why = "where data sets are mixed" if run.mixed else "with --data"
            why = "where records are packed" if run.packed else why
            raise UsageError(
                f"warmup_steps: of how many steps {run.warmup_steps} are is not known {why}; give "
                "warmup_ratio"
            )
        records = 0
        for one, most in zip(files_of(search.data), run.most, strict=True):
            count = sum(1 for _ in open_records(one.path, encoding=search.encoding).read())
            records += count if most is None else min(count, most)
        held_out = run.held_out if run.held_out >= 1 else math.ceil(run.held_out * records)
        steps = max(0, math.ceil(run.epochs * math.ceil((records - held_out) / run.params["batch_size"])))
    if run.warmup_steps >= steps:
        raise UsageError(f"warmup_steps: {run.warmup_steps} are not fewer than the {steps} steps of its run")
    return run.warmup_steps / steps
