"""Optuna's copy of a study, in Optuna's own tables of the same file, for Optuna's own tools.

Each finished trial is written once, in one commit, rather than live: measured in docs/log.md. Nothing of
ours reads it back. The only module of storage that imports Optuna, and itself imported only when needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..spaces.errors import StorageError
from . import engine, faults
from .reconcile import Add, Copy, End, Note, Present, Report, Step, copies, reconcile
from .records import CurvePoint, StudyRecord, TrialRecord

_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
}
_NUMBER = "loratune_number"


class CopyChanged(Exception):  # noqa: N818 - no fault, and never seen by the user
    """Somebody changed Optuna's copy from outside, such as in the dashboard; write every trial again."""


class Projection:
    """Optuna's storage on the same database, behind the same fence; remembers what it has written."""

    def __init__(self, address: engine.Address, fence: engine.Fence, *, timeout: float) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = _open(address, timeout)
        engine.guard(self._storage.engine, fence)
        self._studies: dict[int, tuple[int, dict[int, Present]]] = {}

    def close(self) -> None:
        """Close every connection."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def ended(self, study_id: int) -> frozenset[int]:
        """Return the trials of a study that are known to need no more writing."""
        _, present = self._studies.get(study_id, (0, {}))
        return frozenset(number for number, trial in present.items() if trial.ended)

    def write(
        self,
        study: StudyRecord,
        trials: Sequence[TrialRecord],
        points: Sequence[CurvePoint],
        distributions: Mapping[str, BaseDistribution],
        encoded: Mapping[int, Mapping[str, Any]],
        *,
        worst: float,
    ) -> int:
        """Write what Optuna lacks of the given trials and return the number of commits.

        ``worst`` is the greatest finite eval loss of the whole study. Raises ``CopyChanged`` where what
        was remembered of Optuna's tables no longer holds; it is forgotten, so ``ended`` is empty then.
        """
        ours = copies(trials, points, worst)
        records = {trial.number: trial for trial in trials}
        # Taken out while we write: after a failure the next call reads afresh what arrived.
        known = self._studies.pop(study.id, None)
        optuna_id, present = known if known is not None else self._read(study)
        steps = reconcile(ours, present)
        try:
            for step in steps:
                self._apply(step, optuna_id, present, records, distributions, encoded)
        except (KeyError, optuna.exceptions.UpdateFinishedTrialError) as error:
            raise CopyChanged from error
        self._studies[study.id] = (optuna_id, present)
        return len(steps)

    def _read(self, study: StudyRecord) -> tuple[int, dict[int, Present]]:
        """Return Optuna's id of a study, made where it is missing, and what Optuna has of its trials."""
        try:
            optuna_id = self._storage.get_study_id_from_name(study.name)
        except KeyError:
            optuna_id = self._storage.create_new_study([StudyDirection.MINIMIZE], study.name)
        found = {}
        for trial in self._storage.get_all_trials(optuna_id, deepcopy=False):
            if _NUMBER in trial.user_attrs:
                found[int(trial.user_attrs[_NUMBER])] = Present(
                    trial_id=trial._trial_id,
                    ended=trial.state.is_finished(),
                    steps=frozenset(trial.intermediate_values),
                    attributes=trial.user_attrs,
                )
        return optuna_id, found

    def _apply(
        self,
        step: Step,
        optuna_id: int,
        present: dict[int, Present],
        records: Mapping[int, TrialRecord],
        distributions: Mapping[str, BaseDistribution],
        encoded: Mapping[int, Mapping[str, Any]],
    ) -> None:
        """Write one step: one commit."""
        if isinstance(step, Add):
            copy = step.copy
            template = _template(copy, records[copy.number], distributions, encoded.get(copy.number, {}))
            trial_id = self._storage.create_new_trial(optuna_id, template)
            present[copy.number] = Present(
                trial_id=trial_id,
                ended=copy.state != "running",
                steps=frozenset(copy.steps),
                attributes=copy.attributes,
            )
            return
        trial_id = present[step.number].trial_id
        match step:
            case Report(step=quantum, value=value):
                self._storage.set_trial_intermediate_value(trial_id, quantum, value)
            case Note(key=key, value=value):
                self._storage.set_trial_user_attr(trial_id, key, value)
            case End(number=number, state=state, value=value):
                self._storage.set_trial_state_values(trial_id, _STATES[state], [value])
                before = present[number]
                present[number] = Present(
                    trial_id=trial_id, ended=True, steps=before.steps, attributes=before.attributes
                )


def _template(
    copy: Copy,
    record: TrialRecord,
    distributions: Mapping[str, BaseDistribution],
    encoded: Mapping[str, Any],
) -> FrozenTrial:
    """Return a trial for Optuna; a value that its distribution cannot hold is left to the attributes."""
    params = {
        name: encoded[name]
        for name, distribution in distributions.items()
        if name in encoded and _holds(distribution, encoded[name])
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
            if attempts == 0 or faults.sqlite_code(error) not in (None, "SQLITE_ERROR", "SQLITE_CONSTRAINT"):
                raise
            time.sleep(0.2)
        except RuntimeError as error:
            # What Optuna raises, over several lines, for tables of another Optuna.
            raise StorageError(
                f"{address.shown}: its Optuna tables are of another version than Optuna "
                f"{optuna.__version__}; run optuna storage upgrade on it, or upgrade Optuna"
            ) from error
