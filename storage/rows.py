"""Rows of the tables as records and back, and the checks that a record must pass to become a row."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path, PurePosixPath
from typing import Any

import pydantic
import sqlalchemy

from ..errors import StorageError
from ..spaces.params import LoraParams
from ..study.records import (
    FINAL_STATES,
    CurvePoint,
    Ending,
    Evaluation,
    EventRecord,
    LeaseRecord,
    Origin,
    RoundUpdate,
    StudyHead,
    StudyRecord,
    TrialRecord,
)
from . import database_errors, leases, seals

_HEAD = pydantic.TypeAdapter(StudyHead)
_ORIGIN = pydantic.TypeAdapter(Origin)
_TRIAL = pydantic.TypeAdapter(TrialRecord)
_POINT = pydantic.TypeAdapter(CurvePoint)
_EVENT = pydantic.TypeAdapter(EventRecord)

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


def now() -> datetime.datetime:
    """Return this moment, UTC."""
    return datetime.datetime.now(datetime.UTC)


def check_name(name: str) -> str:
    """Return a study's name, or raise ``StorageError``; names go into URLs, logs and file names."""
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"study name {name!r}: use 1 to 64 letters (a-z, A-Z), digits, dots, dashes and underscores, "
            "not a dot or a dash first"
        )
    return name


def head(row: sqlalchemy.RowMapping) -> StudyHead:
    """Read what a row of tune_studies says beside configuration and facts, which are not parsed."""
    what = f"study {row['name']!r}"
    with database_errors.readable(what):
        seals.check(row, what)
        return _HEAD.validate_python({key: row[key] for key in StudyHead.__dataclass_fields__})


def origin(row: sqlalchemy.RowMapping) -> Origin:
    """Read of a row of tune_studies what it follows from; the rest of its configuration is not parsed."""
    what = f"study {row['name']!r}"
    with database_errors.readable(what):
        seals.check(row, what)
        config = row["config"]
        stage, ladder = config.get("stage") or {}, config.get("ladder") or {}
        found = {"kind": stage.get("kind"), "parent": stage.get("parent"), "steps": ladder.get("steps", 0)}
        return _ORIGIN.validate_python(found)


def study(row: sqlalchemy.RowMapping) -> StudyRecord:
    """Read a row of tune_studies: the only place where a stored configuration and facts are parsed.

    Raises ``StorageError``, which names the study, where they are not what this version writes.
    """
    # Only here: Optuna comes with a space and takes half a second to import.
    from ..study.facts import Facts
    from ..study.study_config import StudyConfig

    found = head(row)
    try:
        config, facts = StudyConfig.from_json(row["config"]), Facts.from_json(row["facts"])
    except StorageError as error:
        raise StorageError(f"study {found.name!r}: {error}") from error
    return StudyRecord(**vars(found), config=config, facts=facts)


def trial(row: sqlalchemy.RowMapping) -> TrialRecord:
    """Read a row of tune_trials."""
    what = f"trial {row['number']!r}"
    with database_errors.readable(what):
        seals.check(row, what)
        values = {key: row.get(key) for key in TrialRecord.__dataclass_fields__}
        return _TRIAL.validate_python({**values, "params": LoraParams.from_dict(row["params"])})


def point(row: sqlalchemy.RowMapping) -> CurvePoint:
    """Read a row of tune_curve."""
    what = f"a point of trial {row['trial']!r}"
    with database_errors.readable(what):
        seals.check(row, what)
        return _POINT.validate_python({key: row[key] for key in CurvePoint.__dataclass_fields__})


def evaluation(row: sqlalchemy.RowMapping) -> Evaluation:
    """Read a row of tune_evaluations; raises ``DamagedError`` where its bytes are no vectors."""
    from . import vectors  # it loads NumPy, which what only lists or shows studies need not wait for

    what = f"the losses of trial {row['trial']!r} after round {row['round']!r}"
    with database_errors.readable(what):
        seals.check(row, what)
        return vectors.read(row)


def event(row: sqlalchemy.RowMapping) -> EventRecord:
    """Read a row of tune_events."""
    with database_errors.readable("an event"):
        seals.check(row, "an event")
        return _EVENT.validate_python({key: row[key] for key in ("at", "kind", "detail")})


def owner(row: sqlalchemy.RowMapping) -> leases.Process | None:
    """Read the owner from a row of tune_leases; None where it was released."""
    if row["host"] is None:
        return None
    with database_errors.readable("who owns a study"):
        return leases.Process.of(row["host"], row["pid"], row["pid_started"], row["identity"])


def lease(process: leases.Process, token: int, *, alive: bool) -> LeaseRecord:
    """Return the record of an owner."""
    return LeaseRecord(
        host=process.host, pid=process.pid, pid_started=process.started, token=token, alive=alive
    )


def point_values(study_id: int, update: RoundUpdate) -> dict[str, Any]:
    """Return the row of a curve's point, or raise ``StorageError``; what is not finite becomes NULL."""
    found = update.point
    if (found.trial, found.round) != (update.trial, update.round):
        raise StorageError(
            f"trial {update.trial}, round {update.round}: its point is of trial {found.trial}, "
            f"round {found.round}; this is a fault of loratune, please report it"
        )
    values = {key: getattr(found, key) for key in CurvePoint.__dataclass_fields__}
    for key in ("train_loss", "eval_loss", "grad_norm"):
        if values[key] is not None:
            values[key] = float(values[key]) if math.isfinite(values[key]) else None
    for key in ("learning_rate", "tokens_per_second"):
        if not math.isfinite(values[key]):
            raise StorageError(f"trial {update.trial}: {key} {values[key]!r} is not a finite number")
        values[key] = float(values[key])
    return {"study_id": study_id, **values}


def evaluation_values(study_id: int, trial: int, round_number: int, found: Evaluation) -> dict[str, Any]:
    """Return the row of an evaluation: losses as little-endian float32, tokens as little-endian int32."""
    from . import vectors

    losses, tokens = found.losses, found.tokens
    if losses.ndim != 1 or losses.shape != tokens.shape or len(losses) == 0:
        raise StorageError(
            f"trial {trial}, round {round_number}: {losses.shape} losses for {tokens.shape} "
            "token counts; this is a fault of loratune, please report it"
        )
    return {
        "study_id": study_id,
        "trial": trial,
        "round": round_number,
        **vectors.written(found),
    }


def check_ending(ending: Ending) -> None:
    """Raise ``StorageError`` unless the ending says all that its state needs, and no more."""
    what = f"trial {ending.trial}"
    if ending.state not in FINAL_STATES:
        raise StorageError(f"{what}: cannot end as {ending.state!r}; use one of {', '.join(FINAL_STATES)}")
    if ending.state == "complete":
        if ending.value is None or not math.isfinite(ending.value):
            raise StorageError(
                f"{what}: its value {ending.value!r} is not a finite number; end it as diverged"
            )
        if ending.score is not None and not math.isfinite(ending.score):
            raise StorageError(f"{what}: its score {ending.score!r} is not a finite number")
    elif ending.value is not None or ending.score is not None:
        raise StorageError(f"{what}: only a complete trial has a value, and this one ended {ending.state}")
    elif not ending.reason:
        raise StorageError(f"{what}: ended {ending.state} without a reason; say why")


def relative(folder: Path, file: str | None) -> str | None:
    """Return a file's path inside the study's folder; ``StorageError`` where it lies outside."""
    if file is None:
        return None
    path = Path(file)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            raise StorageError(f"{file}: lies outside the study's folder {folder}")
        path = path.relative_to(folder)
    if ".." in path.parts or not path.parts:
        raise StorageError(f"{file}: lies outside the study's folder {folder}")
    return str(PurePosixPath(*path.parts))
