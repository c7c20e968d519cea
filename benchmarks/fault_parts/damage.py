"""Bytes that change on disk: how files are damaged, and whether those who read them notice.

A damage is found where the reading function refuses the file (or, of what can be made again, takes it
for none), harmless where everything read is what it was, and else it has gone unnoticed. SQLite reads a
damaged log as far as it is whole; what follows the last round that was noted beside the files may then be
gone, and a search makes it again alike: that is told apart as an earlier state.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import safetensors
from loratune.app.exporting import handover
from loratune.errors import LoratuneError, StorageError
from loratune.integrations.peft import export
from loratune.objectives.data import token_cache
from loratune.objectives.training import checkpoint
from loratune.reports.load import load_view
from loratune.storage.check import findings
from loratune.storage.store import Store

from . import record
from .record import Record
from .study import NAME, Bench, Case
from .tally import Tally

BLOCK = 4096
WAYS = ("a bit flipped", "4 KiB zeroed", "cut short", "deleted")

Reading = Callable[[Path], Any]
"""Returns something that can be compared, None where a file is taken for none; raises ``LoratuneError``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What is read of a database."""

    record: Record
    """The study's trials."""
    told: list[Any]
    """Its events."""
    study: Any
    """What the user chose and what was found when it was made."""

    def precedes(self, other: State) -> bool:
        """Return whether this is an earlier state of the same study."""
        same = self.study == other.study and self.told == other.told[: len(self.told)]
        return same and record.earlier(self.record, other.record)


def damaged(content: bytes, way: str, rng: random.Random) -> bytes | None:
    """Return damaged bytes, never those that were given; None for a file that is gone."""
    if way == "a bit flipped":
        at = rng.randrange(len(content))
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if way == "4 KiB zeroed":
        starts = list(range(0, len(content), BLOCK))
        rng.shuffle(starts)
        for at in starts:
            if any(content[at : at + BLOCK]):
                return content[:at] + bytes(len(content[at : at + BLOCK])) + content[at + BLOCK :]
    if way == "deleted":
        return None
    return content[: rng.randrange(len(content))]


def strike(path: Path, way: str, rng: random.Random) -> None:
    """Damage a file on disk."""
    content = damaged(path.read_bytes(), way, rng)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def damage_files(bench: Bench, times: int) -> list[Tally]:
    """Damage the files of a killed search one at a time and read them as the product does."""
    # Each damage of the token cache is a warning of its reader.
    logging.getLogger("loratune").setLevel(logging.ERROR)
    case = bench.case("victim")
    running = case.begin()
    search = psutil.Process(running.process.pid)
    while case.wait_until(running, lambda: _ripe(case)):
        search.suspend()
        if _ripe(case):
            break
        search.resume()
    running.kill()
    running.orphans()
    with _readings(case, bench.folder) as kinds:
        tallies = [
            _damage(bench, kind, files, reading, max(1, round(times * share)))
            for kind, share, files, reading in kinds
        ]
    case.clear()
    return tallies


def _ripe(case: Case) -> bool:
    """Return whether there are training states, a kept adapter, a log that holds something, some rounds."""
    log = case.database.with_name("tune.db-wal")
    return (
        len(case.files()) >= 2
        and any((case.checkpoints.parent / "adapters").glob("*.safetensors"))
        and log.is_file()
        and log.stat().st_size > 0
        and (case.rounds() or 0) >= 3 * case.size.trials
    )


def _damage(bench: Bench, kind: str, files: list[Path], reading: Reading, times: int) -> Tally:
    tally, rng = Tally(kind=f"{kind} damaged and read"), bench.rng(kind)
    if not files:
        tally.skipped = "there was none"
        return tally
    contents = {path: path.read_bytes() for path in files}
    intact = {path: reading(path) for path in files}
    for _ in range(times):
        path, way = rng.choice(files), rng.choice(WAYS)
        strike(path, way, rng)
        tally.times += 1
        found, words = "missed", ""
        try:
            now = reading(path)
            if now is None:
                found = "taken for none"
            elif now == intact[path]:
                found = "harmless"
            elif isinstance(now, State) and path.name.endswith("-wal") and now.precedes(intact[path]):
                found = "earlier state"
        except LoratuneError as error:
            found, words = "refused", str(error)
        except Exception as error:  # what a user would see as a traceback
            found, words = "traceback", f"{type(error).__name__}: {error}"
        tally.harmless += found in ("harmless", "earlier state")
        tally.differing += found == "missed"
        tally.tracebacks += found == "traceback"
        if found in ("missed", "traceback"):
            tally.words.append(f"{path.name}, {way}: {found} {words}")
        bench.emit({"fault": tally.kind, "file": path.name, "way": way, "found": found, "words": words})
        path.write_bytes(contents[path])
        if reading(path) != intact[path]:
            raise RuntimeError(f"{path}: put back, it reads otherwise")
    return tally


@contextlib.contextmanager
def _readings(case: Case, folder: Path) -> Iterator[list[tuple[str, float, list[Path], Reading]]]:
    """Give every kind of file: its name, its share of the damages, the files, how they are read."""
    with Store.open(str(case.database), mode="read") as store:
        study = store.study(NAME)
        home = store.study_dir(study.id)
        trials = {trial.number: trial for trial in store.trials(study.id)}
        view = load_view(store, NAME)
    states = {home / t.checkpoint: t for t in trials.values() if t.checkpoint is not None}
    adapters = {home / t.adapter: t for t in trials.values() if t.adapter is not None}
    owners = {
        path: checkpoint.owner(t.number, t.seed, t.params, study.facts.data.fingerprint)
        for path, t in states.items()
    }
    exported = folder / "exported"

    def state(path: Path) -> Any:
        tensors, metadata = checkpoint.read(path, owners[path])
        return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, metadata

    def adapter(path: Path) -> Any:
        shutil.rmtree(exported, ignore_errors=True)
        export(dataclasses.replace(handover(view, adapters[path].number), adapter=path), exported)
        return record.weights_of(exported / "adapter_model.safetensors")

    cached = sorted((case.artifacts / "cache").glob("tokens-*.safetensors"))
    keys = {path: _key(path) for path in cached}

    def cache(path: Path) -> Any:
        return token_cache.load(path.parent, keys[path], _copied)

    # What a backup or a crash leaves: the file whole in itself, and the file with its log. The log's index
    # is made anew by whoever reads.
    whole, pair = folder / "whole" / "tune.db", folder / "pair" / "tune.db"
    for path in (whole, pair):
        path.parent.mkdir()
        for end in ("", "-wal"):
            if (file := case.database.with_name(f"tune.db{end}")).is_file():
                shutil.copy(file, path.with_name(file.name))
        shutil.copytree(case.artifacts, path.parent / "tune-artifacts")
    with contextlib.closing(sqlite3.connect(whole)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    known: dict[Path, tuple[str, ...]] = {}

    def database(path: Path) -> Any:
        path = path.with_name("tune.db")
        path.with_name("tune.db-shm").unlink(missing_ok=True)
        with Store.open(str(path), mode="read") as store:
            found, study = findings(store), store.study(NAME)
            told = [(event.kind, event.detail) for event in store.events(study.id)]
        if new := sorted(set(found) - set(known.setdefault(path, found))):
            raise StorageError("; ".join(new))
        # Optuna's tables are a copy, which is written and never read.
        read = dataclasses.replace(record.read(path, NAME), optuna=())
        return State(record=read, told=told, study=(study.config, study.facts))

    yield [
        ("training state", 0.4, sorted(states), state),
        ("kept adapter", 0.25, sorted(adapters), adapter),
        ("token cache", 0.15, cached, cache),
        ("database", 0.1, [whole], database),
        (
            "database's log (-wal)",
            0.1,
            [log] if (log := pair.with_name("tune.db-wal")).is_file() else [],
            database,
        ),
    ]
    for path in (whole, pair):
        shutil.rmtree(path.parent)
    shutil.rmtree(exported, ignore_errors=True)


def _key(path: Path) -> str:
    """Return the key that a file of the token cache is of, from its metadata."""
    with safetensors.safe_open(path, framework="np") as file:
        return str(file.metadata()["key"])


def _copied(arrays: dict[str, Any], summary: dict[str, Any]) -> Any:
    return {name: np.array(array).tobytes() for name, array in arrays.items()}, summary
