"""Optuna's copy of a study, in Optuna's own tables of the same file, for Optuna's own tools.

The study is there from the moment it is made; each trial is added once, whole, when it has ended, and
never changed: measured in docs/log.md. Nothing of ours reads it back. The only module of storage that
imports Optuna, and itself imported only when needed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..errors import StorageError
from ..spaces.quiet_optuna import quiet
from ..study.records import CurvePoint, StudyHead, TrialRecord
from . import database_errors, engine, optuna_rows
from .to_optuna import LAYOUT_NOTE, NUMBER, OptunaTrial, names, to_optuna

LAYOUT = 2
"""Grows when trials are told otherwise; a copy of another layout is written anew. 1 was never named: it
held indices in place of values, and rows of running trials to keep Optuna's numbers equal to ours."""

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class CopyGone(Exception):  # noqa: N818 - no fault, and never seen by the user
    """Somebody deleted Optuna's copy, such as in the dashboard; write every trial again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Copy:
    """What Optuna has of a study."""

    optuna_id: int
    """Optuna's number of it."""
    name: str
    """Its name there."""
    present: frozenset[int]
    """Our numbers of the trials that it holds."""


class Projection:
    """Optuna's storage on the same database, behind the same fence; remembers what it has written."""

    def __init__(self, address: engine.Address, fence: engine.Fence, *, timeout: float) -> None:
        with quiet():
            self._storage = _open(address, timeout)
        engine.guard(self._storage.engine, fence)
        self._studies: dict[int, _Copy] = {}

    def close(self) -> None:
        """Close every connection."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def knows(self, study: StudyHead) -> bool:
        """Return whether it remembers what Optuna has of a study; else all trials are to be looked at."""
        return study.id in self._studies

    def present(self, study: StudyHead) -> frozenset[int]:
        """Return the trials that Optuna has of a study, by our numbers; makes its row where it is missing."""
        if study.id not in self._studies:
            with quiet():
                self._studies[study.id] = self._read(study)
        return self._studies[study.id].present

    def name(self, study: StudyHead) -> str:
        """Return the name of a study's copy, which is another where a user's own study has the study's."""
        self.present(study)
        return self._studies[study.id].name

    def write(
        self,
        study: StudyHead,
        trials: Sequence[TrialRecord],
        points: Sequence[CurvePoint],
        distributions: Mapping[str, BaseDistribution],
        values: Mapping[int, Mapping[str, Any]],
    ) -> int:
        """Add the ended ones among the trials that Optuna lacks, in the order in which they ended.

        Returns the number of trials. Raises ``CopyGone`` where the study was deleted from Optuna's
        tables; what was remembered of it is forgotten then.
        """
        present = self.present(study)
        ended = [trial for trial in trials if trial.state != "running" and trial.number not in present]
        ended.sort(key=lambda trial: (trial.finished_at or trial.started_at, trial.number))
        if not ended:
            return 0
        losses: dict[int, dict[int, float | None]] = {}
        for point in points:
            losses.setdefault(point.trial, {})[point.round] = point.eval_loss
        # Not ``values.get``, which takes a KeyError from working parameters out for there being none.
        told = [
            _template(
                trial,
                to_optuna(trial, losses.get(trial.number, {})),
                distributions,
                values[trial.number] if trial.number in values else {},  # noqa: SIM401
            )
            for trial in ended
        ]
        # Taken out while we write: after a failure the next call looks what has arrived.
        copy = self._studies.pop(study.id)
        with quiet():
            try:
                optuna_rows.add(
                    self._storage, copy.optuna_id, told, name=copy.name, note=(LAYOUT_NOTE, LAYOUT)
                )
            except optuna_rows.NotOurs as error:
                raise CopyGone from error
        written = {trial.number for trial in ended}
        self._studies[study.id] = dataclasses.replace(copy, present=present | written)
        return len(ended)

    def _read(self, study: StudyHead) -> _Copy:
        """Return what Optuna has of a study, made where it is missing; never touches a user's own study."""
        storage = self._storage
        for name in names(study.name):
            try:
                optuna_id = storage.get_study_id_from_name(name)
            except KeyError:
                return self._create(name, {}, {})
            with database_errors.readable("Optuna's copy of the study"):
                notes = storage.get_study_user_attrs(optuna_id)
                found = storage.get_all_trials(optuna_id, deepcopy=False)
                numbers = [trial.user_attrs.get(NUMBER) for trial in found]
                if notes.get(LAYOUT_NOTE) == LAYOUT:
                    present = frozenset(int(number) for number in numbers if number is not None)
                    return _Copy(optuna_id=optuna_id, name=name, present=present)
            # The first layout named none. What holds a trial that we did not write is not ours to delete.
            if None not in numbers and (found or LAYOUT_NOTE in notes):
                system = storage.get_study_system_attrs(optuna_id)  # holds what was noted in the dashboard
                storage.delete_study(optuna_id)
                return self._create(name, notes, system)
        taken = " and ".join(map(repr, names(study.name)))
        raise StorageError(
            f"study {study.name!r}: other studies in Optuna's tables have the names {taken}, so it cannot be "
            "copied there; delete or rename one of them"
        )

    def _create(self, name: str, notes: Mapping[str, Any], system: Mapping[str, Any]) -> _Copy:
        """Make a study in Optuna's tables."""
        optuna_id = self._storage.create_new_study([StudyDirection.MINIMIZE], name)
        for key, value in system.items():
            self._storage.set_study_system_attr(optuna_id, key, value)
        for key, value in {**notes, LAYOUT_NOTE: LAYOUT}.items():
            self._storage.set_study_user_attr(optuna_id, key, value)
        return _Copy(optuna_id=optuna_id, name=name, present=frozenset())


def _template(
    record: TrialRecord,
    copy: OptunaTrial,
    distributions: Mapping[str, BaseDistribution],
    values: Mapping[str, Any],
) -> FrozenTrial:
    """Return a trial for Optuna; a value that its distribution cannot hold is left to the attributes."""
    params = {
        name: values[name]
        for name, distribution in distributions.items()
        if name in values and _holds(distribution, values[name])
    }
    trial = optuna.trial.create_trial(
        state=_STATES[copy.state],
        value=copy.value,
        params=params,
        distributions={name: distributions[name] for name in params},
        user_attrs=dict(copy.attributes),
        intermediate_values=dict(copy.steps),
    )
    trial.datetime_start = record.started_at
    trial.datetime_complete = record.finished_at
    return trial


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:
        return False


def _open(address: engine.Address, timeout: float) -> optuna.storages.RDBStorage:
    """Return Optuna's storage, its tables made where they are missing.

    Optuna makes them one by one without a lock, so two programs that begin at once trip over each
    other; the one that tripped finds them made when it looks again.
    """
    # The address goes into the connector: Optuna formats its URL and keeps it, password and all.
    url = "sqlite://" if address.path is not None else "postgresql+psycopg://"
    attempts = 25  # five seconds: on a busy machine the other takes as long to make all of them
    while True:
        attempts -= 1
        try:
            return optuna.storages.RDBStorage(
                url, engine_kwargs=engine.engine_options(address, timeout=timeout)
            )
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if attempts == 0 or database_errors.sqlite_code(error) not in (
                None,
                "SQLITE_ERROR",
                "SQLITE_CONSTRAINT",
            ):
                raise
            time.sleep(0.2)
        except RuntimeError as error:
            # What Optuna raises, over several lines, for tables of another Optuna.
            raise StorageError(
                f"{address.shown}: its Optuna tables are of another version than Optuna "
                f"{optuna.__version__}; run optuna storage upgrade on it, or upgrade Optuna"
            ) from error
