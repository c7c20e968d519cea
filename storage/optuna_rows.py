"""Ended trials as rows of Optuna's tables, many in one commit.

Optuna's own ``create_new_trial`` looks each value up before it writes it, some forty statements and a copy
of the trial: most of what a search cost beside training. The rows here are those that it would write, which
a test compares; for tables of another schema than ``SCHEMA`` it is left to Optuna.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import insert, select

SCHEMA = 12
"""Optuna's number of the schema whose rows are written here; that of Optuna 5.0."""

AT_ONCE = 100
"""So many trials are written in one commit: others can write between two."""


class NotOurs(Exception):  # noqa: N818 - what follows from it is the caller's
    """Optuna's id is that of another study by now, or of none."""


def add(
    storage: optuna.storages.RDBStorage,
    optuna_id: int,
    trials: Sequence[FrozenTrial],
    *,
    name: str,
    note: tuple[str, Any],
) -> None:
    """Add ended trials to a study in the order given.

    Raises ``NotOurs`` unless Optuna's id still is that of a study of this name and user attribute: SQLite
    gives the id of a deleted study to the next one, which may even be a user's of the same name.
    """
    for first in range(0, len(trials), AT_ONCE):
        some = trials[first : first + AT_ONCE]
        if models.SCHEMA_VERSION != SCHEMA:
            try:
                found = storage.get_study_name_from_id(optuna_id), storage.get_study_user_attrs(optuna_id)
            except KeyError as error:
                raise NotOurs(name) from error
            if found[0] != name or found[1].get(note[0]) != note[1]:
                raise NotOurs(name)
            for trial in some:
                storage.create_new_trial(optuna_id, trial)
            continue
        with storage.engine.begin() as connection:
            _check(connection, optuna_id, name, note)
            _add(connection, optuna_id, some)


def _check(connection: sqlalchemy.Connection, optuna_id: int, name: str, note: tuple[str, Any]) -> None:
    """Raise ``NotOurs`` where the id means another study or none; lock its row where a server holds it."""
    studies, notes = models.StudyModel.__table__, models.StudyUserAttributeModel.__table__
    found = select(studies.c.study_name).where(studies.c.study_id == optuna_id).with_for_update()
    if connection.execute(found).scalar() != name:
        raise NotOurs(name)
    noted = select(notes.c.value_json).where(notes.c.study_id == optuna_id, notes.c.key == note[0])
    if connection.execute(noted).scalar() != json.dumps(note[1]):
        raise NotOurs(name)


def _add(connection: sqlalchemy.Connection, optuna_id: int, trials: Sequence[FrozenTrial]) -> None:
    table = models.TrialModel.__table__
    last = select(table.c.number).where(table.c.study_id == optuna_id).order_by(table.c.trial_id.desc())
    number = connection.execute(last.limit(1)).scalar()
    rows: dict[type[models.BaseModel], list[dict[str, Any]]] = {}
    for place, trial in enumerate(trials, 0 if number is None else number + 1):
        added = connection.execute(
            insert(table).values(
                study_id=optuna_id,
                number=place,
                state=trial.state,
                datetime_start=_utc(trial.datetime_start),
                datetime_complete=_utc(trial.datetime_complete),
            )
        ).inserted_primary_key
        assert added is not None
        for model, row in _rows(trial):
            rows.setdefault(model, []).append({"trial_id": added[0], **row})
    for model, found in rows.items():
        connection.execute(insert(model.__table__), found)


def _rows(trial: FrozenTrial) -> list[tuple[type[models.BaseModel], dict[str, Any]]]:
    """Return what lies in other tables than the trial itself, without its id."""
    found: list[tuple[type[models.BaseModel], dict[str, Any]]] = []
    row: dict[str, Any]
    if trial.value is not None:
        value, kind = models.TrialValueModel.value_to_stored_repr(trial.value)
        row = {"objective": 0, "value": value, "value_type": kind}
        found.append((models.TrialValueModel, row))
    for name, param in trial.params.items():
        distribution = trial.distributions[name]
        row = {"param_name": name, "param_value": distribution.to_internal_repr(param)}
        row["distribution_json"] = distribution_to_json(distribution)
        found.append((models.TrialParamModel, row))
    for key, attribute in trial.user_attrs.items():
        row = {"key": key, "value_json": json.dumps(attribute)}
        found.append((models.TrialUserAttributeModel, row))
    for step, loss in trial.intermediate_values.items():
        kept, how = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(loss)
        row = {"step": step, "intermediate_value": kept, "intermediate_value_type": how}
        found.append((models.TrialIntermediateValueModel, row))
    return found


def _utc(at: datetime.datetime | None) -> datetime.datetime | None:
    """Return a moment as Optuna keeps it: UTC, without saying so."""
    return None if at is None else at.astimezone(datetime.UTC).replace(tzinfo=None)
