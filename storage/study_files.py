"""The files beside the database: checkpoints and adapters, which of them are kept, and how one is made.

A file is on disk before a row names it, and a row forgets it before it goes; so what no row names is an
orphan, unless it belongs to a round that runs at this moment. The decisions are pure.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import digest
from ..atomic import sweep_unfinished, sync_folder, write_atomically
from ..errors import DamagedFile
from ..spaces.params import LoraParams
from ..study.checkpoint_format import PARAMS, PARAMS_KEY, checkpoint_name, spelled
from ..study.ranking import ranked
from ..study.records import TrialRecord
from . import database_errors

CHECKPOINTS = "checkpoints"
"""Folder of training states inside a study's folder."""

ADAPTERS = "adapters"
"""Folder of kept adapters inside a study's folder."""

HELD = "held"
"""Folder of the states before a decay, from which longer trials go on, inside a study's folder."""

PLAIN = "plain"
"""Folder of the states of trainings without adapters, inside a study's folder."""

LOGS = "logs"
"""Folder of logs, of all studies of a database."""

CACHE = "cache"
"""Folder of tokenized data and of digests of models, of all studies of a database."""

LONGEST_WRITE = 3600.0
"""A file of the cache that has not grown for so many seconds is written by nobody any more."""

_CHECKPOINT = re.compile(CHECKPOINTS + r"/\.?trial-(\d+)-q(\d+)-a(\d+)\b.*")
_ADAPTER = re.compile(ADAPTERS + r"/\.?trial-(\d+)\b.*")


def checkpoint_file(trial: int, round_number: int, attempt: int) -> str:
    """Return where a trial's state after a round lies, relative to the study's folder.

    >>> round_of(checkpoint_file(3, 5, 1))
    5
    """
    return f"{CHECKPOINTS}/{checkpoint_name(trial, round_number, attempt)}"


def adapter_name(trial: int) -> str:
    """Return where a trial's adapter lies, relative to the study's folder."""
    return f"{ADAPTERS}/trial-{trial:05d}.safetensors"


def held_name(trial: int) -> str:
    """Return where the state of a trial before its decay lies, relative to the study's folder."""
    return f"{HELD}/trial-{trial:05d}.safetensors"


def best_adapters(trials: Iterable[TrialRecord], count: int) -> frozenset[int]:
    """Return the numbers of the trials whose adapters stay: the ``count`` best."""
    return frozenset(trial.number for trial in ranked(trials)[: max(0, count)])


def keep(trials: Sequence[TrialRecord], best: int) -> frozenset[str]:
    """Return the files to keep: checkpoints of running trials, adapters of the ``best`` complete ones."""
    chosen = best_adapters(trials, best)
    checkpoints = {trial.checkpoint for trial in trials if trial.state == "running"}
    adapters = {trial.adapter for trial in trials if trial.number in chosen}
    return frozenset(name for name in checkpoints | adapters if name is not None)


def round_of(checkpoint: str) -> int:
    """Return after which round a training state was written.

    >>> round_of("checkpoints/trial-00003-q5-a1.safetensors")
    5
    """
    match = _CHECKPOINT.fullmatch(checkpoint)
    assert match is not None, checkpoint
    return int(match.group(2))


def trials_of(names: Iterable[str]) -> frozenset[int]:
    """Return the numbers of the trials whose files these are; names that are not ours have none.

    >>> sorted(trials_of(["checkpoints/trial-00003-q5-a1.safetensors", "adapters/x"]))
    [3]
    """
    found = (_CHECKPOINT.fullmatch(name) or _ADAPTER.fullmatch(name) for name in names)
    return frozenset(int(match.group(1)) for match in found if match)


def previous(names: Iterable[str], trials: Iterable[TrialRecord]) -> dict[int, str]:
    """Return by trial the state before the last one of each running trial, where it is still there.

    It is kept in case the last one is damaged; a trial of few rounds may have none. No row names it.
    """
    rows = {trial.number: trial for trial in trials if trial.state == "running"}
    found: dict[int, str] = {}
    for name in sorted(names):
        match = _CHECKPOINT.fullmatch(name)
        if match and name.endswith(".safetensors") and not name.startswith(f"{CHECKPOINTS}/."):
            trial = rows.get(int(match.group(1)))
            if trial is not None and 0 < int(match.group(2)) == trial.rounds - 1:
                found[trial.number] = name
    return found


def orphans(names: Iterable[str], trials: Sequence[TrialRecord]) -> frozenset[str]:
    """Return which files nobody needs, half-written ones included.

    A file that no row names stays while its trial's present attempt may yet record it: a worker has
    renamed it, and the coordinator has not heard. The state before the last one stays as well. Names
    that are not ours always stay.
    """
    names = tuple(names)
    rows = {trial.number: trial for trial in trials}
    named = {name for trial in trials for name in (trial.checkpoint, trial.adapter) if name is not None}
    named.update(previous(names, trials).values())
    found = set()
    for name in names:
        if name in named:
            continue
        if match := _CHECKPOINT.fullmatch(name):
            number, round_number, attempt = (int(group) for group in match.groups())
            trial = rows.get(number)
            pending = (
                trial is not None
                and trial.state == "running"
                and attempt >= trial.attempt
                and round_number > trial.rounds
            )
        elif match := _ADAPTER.fullmatch(name):
            trial = rows.get(int(match.group(1)))
            pending = trial is not None and trial.state == "running"
        else:
            continue
        if not pending:
            found.add(name)
    return frozenset(found)


def reserve(artifacts: Path, least: int) -> int:
    """Make the folder of a new study and return its id, the first from ``least`` whose folder is free.

    Folders left by another database in the same place are never shared.
    """
    with database_errors.translated_files(artifacts):
        artifacts.mkdir(mode=0o700, exist_ok=True)
        while True:
            try:
                (artifacts / str(least)).mkdir(mode=0o700)
                return least
            except FileExistsError:
                least += 1


def listing(folder: Path) -> tuple[str, ...]:
    """Return the files in a study's folders, relative to it; empty where there are none."""
    names = []
    for part in (CHECKPOINTS, ADAPTERS):
        with contextlib.suppress(FileNotFoundError):
            names += [f"{part}/{entry.name}" for entry in os.scandir(folder / part) if entry.is_file()]
    return tuple(sorted(names))


def sweep(folder: Path, present: Iterable[str], trials: Sequence[TrialRecord]) -> frozenset[str]:
    """Delete the orphans among ``present`` and return them.

    List the files before reading the trials: a file recorded in between is then seen as named.
    """
    gone = orphans(present, trials)
    with database_errors.translated_files(folder):
        for name in gone:
            (folder / name).unlink(missing_ok=True)
    return gone


def sweep_leftovers(folder: Path, cache: Path) -> None:
    """Delete the half-written files that kills left beside a study's folders, and old ones in the cache.

    Only the owner of a study writes beside its folders; into the cache others may write at this moment.
    """
    with database_errors.translated_files(folder):
        sweep_unfinished(folder)
        sweep_unfinished(folder / HELD)
    with contextlib.suppress(OSError):  # a cache that cannot be tidied is of use all the same
        sweep_unfinished(cache, older_than=LONGEST_WRITE)


def drop_held(folder: Path, needed: Container[int]) -> None:
    """Delete the states before the decay of all trials but those from which longer ones go on."""
    with database_errors.translated_files(folder):
        for path in sorted((folder / HELD).glob("trial-*.safetensors")):
            if int(path.stem.removeprefix("trial-")) not in needed:
                path.unlink(missing_ok=True)


def size(folder: Path) -> int:
    """Return the bytes of all files under a folder; one that vanishes meanwhile counts nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


def database_size(path: Path) -> int:
    """Return the bytes of a SQLite file with its log and that log's index, where they are there."""
    total = 0
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            total += path.with_name(path.name + end).stat().st_size
    return total


def write_adapter(checkpoint: Path, adapter: Path) -> None:
    """Make an adapter file of a checkpoint: the tensors under ``params/``, without Adam's moments.

    Atomic and synced: the file is there whole, or not at all. Raises ``DamagedFile`` where the checkpoint
    is not what was written, ``StorageError`` where the adapter cannot be.
    """
    tensors, metadata = _read(checkpoint, PARAMS)
    if not tensors:
        raise DamagedFile(f"{checkpoint}: holds no adapter; tune resume makes it anew")
    _write(adapter, tensors, metadata)


def copy_state(
    checkpoint: Path, to: Path, *, trial: int | None = None, params: LoraParams | None = None
) -> None:
    """Copy a training state, as that of another trial and of other hyperparameters if these are named.

    Atomic and synced. Raises ``DamagedFile`` where it is not what was written or not there, ``StorageError``
    where the copy cannot be made.
    """
    tensors, metadata = _read(checkpoint, "")
    said = {} if trial is None else {"trial": str(trial)}
    if params is not None:
        said[PARAMS_KEY] = spelled(params)
    _write(to, tensors, {**metadata, **said})


def _read(checkpoint: Path, prefix: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors whose names begin so, and what a checkpoint says of itself."""
    from safetensors import SafetensorError, safe_open

    try:
        digest.check(checkpoint)
        with safe_open(checkpoint, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError, json.JSONDecodeError, DamagedFile) as error:
        raise DamagedFile(
            f"{checkpoint}: no readable checkpoint ({error}); tune resume makes it anew"
        ) from error


def _write(path: Path, tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    from safetensors.numpy import save

    write_synced(path, *digest.seal(save(tensors, metadata={**metadata, **digest.LABELS})))


def write_synced(path: Path, *pieces: bytes | memoryview) -> None:
    """Write a file so that after a crash it is there whole or not at all; raises ``StorageError``.

    Pieces are written one after another: what is large need not be copied together.
    """
    with database_errors.translated_files(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, pieces)
        sync_folder(path.parent)
