"""A study's record in a form that can be compared: everything but times, memory and attempts.

Two records of the same choices are to be equal to the last bit, whatever happened to the searches
that made them.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from loratune.storage.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """What is compared of a trial."""

    configuration: str
    """Its hyperparameters, seed and source, as JSON."""
    outcome: str
    """State, reason, value to the last bit, rounds done, as JSON."""
    rounds: tuple[tuple[Any, ...], ...]
    """Of every round: number, examples, losses, learning rate, norm, to the last bit."""
    evaluations: tuple[tuple[Any, ...], ...]
    """Of every evaluation: its round and a digest of the losses and tokens per example."""
    adapter: str | None
    """A digest of the kept adapter's weights; None where none is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A study that has ended."""

    wanted: int
    """Trials that it was to have."""
    trials: dict[int, TrialFacts]
    """By number."""
    running: tuple[int, ...]
    """Those that have not ended."""
    repeated: int
    """Trials of a configuration that an earlier one has, and rounds that are there twice."""
    optuna: tuple[tuple[Any, ...], ...]
    """Number, state, value and parameters of every trial in Optuna's tables."""
    owned: bool
    """Whether somebody still holds the lease."""
    lying: tuple[str, ...]
    """Training states and adapters that no row names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a struck study has otherwise than one that was left in peace."""

    lost: int = 0
    """Trials that it lacks, or whose rounds it lacks."""
    doubled: int = 0
    """Trials too many, of a configuration that was there before, or twice in Optuna's tables."""
    running: int = 0
    """Trials left running, ours or Optuna's; a lease or a process left; a file that nobody needs."""
    differing: int = 0
    """Trials that differ in anything."""
    words: tuple[str, ...] = ()
    """What it is, in words."""


def digest(*parts: bytes) -> str:
    """Return a short digest."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def weights_of(path: Path) -> str:
    """Return a digest of a safetensors file but for its metadata, which may name an attempt."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return digest(json.dumps(header, sort_keys=True).encode(), content[8 + length :])


def exact(value: float | None) -> str | None:
    """Return a number with all its bits."""
    return None if value is None else float(value).hex()


def read(database: Path, name: str) -> Record:
    """Read a study; raises what the store raises."""
    with Store.open(str(database), mode="read") as store:
        study = store.study(name)
        folder = store.study_dir(study.id)
        trials = store.trials(study.id)
        points: dict[int, list[tuple[Any, ...]]] = collections.defaultdict(list)
        evaluations: dict[int, list[tuple[Any, ...]]] = collections.defaultdict(list)
        repeated = 0
        seen: set[tuple[int, int]] = set()
        for point in store.curve(study.id):
            repeated += (point.trial, point.round) in seen
            seen.add((point.trial, point.round))
            measured = (point.train_loss, point.eval_loss, point.learning_rate, point.grad_norm)
            points[point.trial].append((point.round, point.examples, *map(exact, measured)))
        for round_number in sorted({round_number for _, round_number in seen}):
            for trial, found in store.evaluations(study.id, round_number).items():
                evaluations[trial].append(
                    (round_number, digest(found.losses.tobytes(), found.tokens.tobytes()))
                )
        configurations = collections.Counter(json.dumps(t.params.to_dict(), sort_keys=True) for t in trials)
        repeated += sum(count - 1 for count in configurations.values())
        lease = store.lease(study.id)
        named = {name for trial in trials for name in (trial.checkpoint, trial.adapter) if name is not None}
        facts = {
            trial.number: TrialFacts(
                configuration=json.dumps([trial.params.to_dict(), trial.seed, trial.source]),
                outcome=json.dumps([trial.state, trial.reason, exact(trial.value), trial.rounds]),
                rounds=tuple(points[trial.number]),
                evaluations=tuple(evaluations[trial.number]),
                adapter=None if trial.adapter is None else _adapter(folder / trial.adapter),
            )
            for trial in trials
        }
    kept = ("checkpoints", "adapters")
    present = {
        f"{part}/{path.name}"
        for part in kept
        if (folder / part).is_dir()
        for path in (folder / part).iterdir()
    }
    return Record(
        wanted=study.trials,
        trials=facts,
        running=tuple(trial.number for trial in trials if trial.state == "running"),
        repeated=repeated,
        optuna=_optuna(database, name),
        owned=lease is not None and lease.alive,
        lying=tuple(sorted(present - named)),
    )


def compare(reference: Record, found: Record) -> Comparison:
    """Return what a struck study has otherwise."""
    words: list[str] = []
    lost, differing = set(reference.trials) - set(found.trials), set()
    extra = set(found.trials) - set(reference.trials)
    for number in sorted(set(reference.trials) & set(found.trials)):
        mine, theirs = reference.trials[number], found.trials[number]
        if len(theirs.rounds) < len(mine.rounds):
            lost.add(number)
        for field in dataclasses.fields(TrialFacts):
            one, other = getattr(mine, field.name), getattr(theirs, field.name)
            if one != other:
                differing.add(number)
                words.append(f"trial {number}: {field.name} is {_short(other)}, not {_short(one)}")
    doubled = len(extra) + found.repeated
    numbers = collections.Counter(row[0] for row in found.optuna)
    doubled += sum(count - 1 for count in numbers.values())
    if found.optuna != reference.optuna:
        rows = set(reference.optuna) ^ set(found.optuna)
        differing |= {int(row[0]) for row in rows}
        words.append(f"Optuna's tables differ in trials {sorted({row[0] for row in rows})}")
    left = list(found.running) + [row[0] for row in found.optuna if row[1] in ("RUNNING", "WAITING")]
    words += [f"trial {number} is lost" for number in sorted(lost)]
    words += [f"trial {number} is too many" for number in sorted(extra)]
    words += [f"trial {number} is left running" for number in left]
    words += [f"{name} is left lying" for name in found.lying]
    words += ["the lease is still held"] if found.owned else []
    words += [f"{found.repeated} trials or rounds are there twice"] if found.repeated else []
    return Comparison(
        lost=len(lost),
        doubled=doubled,
        running=len(left) + len(found.lying) + found.owned,
        differing=len(differing),
        words=tuple(words),
    )


def earlier(found: Record, intact: Record) -> bool:
    """Return whether a record is an earlier state of another: the same as far as it goes."""
    if not set(found.trials) <= set(intact.trials):
        return False
    for number, now in found.trials.items():
        then = intact.trials[number]
        same = now.configuration == then.configuration and (
            number in found.running or (now.outcome, now.adapter) == (then.outcome, then.adapter)
        )
        if not (same and _begins(then.rounds, now.rounds) and _begins(then.evaluations, now.evaluations)):
            return False
    return True


def _begins(whole: tuple[Any, ...], part: tuple[Any, ...]) -> bool:
    return whole[: len(part)] == part


def _adapter(path: Path) -> str:
    try:
        return weights_of(path)
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"


def _optuna(database: Path, name: str) -> tuple[tuple[Any, ...], ...]:
    """Return Optuna's trials as its tables have them."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT t.trial_id, t.number, t.state, v.value, v.value_type FROM trials t "
                "JOIN studies s USING (study_id) LEFT JOIN trial_values v USING (trial_id) "
                "WHERE s.study_name = ? ORDER BY t.number",
                (name,),
            ).fetchall()
            params = connection.execute(
                "SELECT trial_id, param_name, param_value FROM trial_params ORDER BY param_name"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return ()
    given: dict[int, list[tuple[str, float]]] = collections.defaultdict(list)
    for trial, param, value in params:
        given[trial].append((param, value))
    return tuple((number, state, value, kind, *given[trial]) for trial, number, state, value, kind in rows)


def _short(value: Any) -> str:
    words = str(value)
    return words if len(words) <= 160 else f"{words[:157]}..."
