"""Keeping Optuna's copy of a study in step: what of the record it lacks, and again where it was deleted.

What a copy looks like, and how it is written, is in optuna_mirror.py, loaded when it is first needed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import StorageError
from ..study.records import StudyHead
from . import database_errors, queries
from .connections import Connections

if TYPE_CHECKING:
    from .optuna_mirror import Projection

Values = Mapping[int, Mapping[str, Any]]
"""By trial number, its parameters; as the study's distributions hold them."""


class OptunaCopy:
    """The copies of the studies of one database; each call to ``update`` writes what has ended since."""

    def __init__(self, database: Connections) -> None:
        self._database = database
        self._projection: Projection | None = None

    def close(self) -> None:
        """Close its connections."""
        if self._projection is not None:
            self._projection.close()
            self._projection = None

    def update(
        self,
        study_id: int,
        distributions: Mapping[str, Any],
        values: Values,
        ended: Collection[int] | None,
    ) -> str:
        """Give Optuna's tables what they lack of a study and return its name there; see ``Store.project``."""
        # Only here: Optuna takes a quarter of a second to import.
        from . import optuna_mirror

        database = self._database
        owned = study_id in database.fence.held
        # Refused here, where the study is another's; what follows is compared with our lease anyway.
        with database.reading() if owned else database.writing(study_id) as connection:
            study = queries.head_of(connection, study_id)
        with database_errors.translated(database.url):
            if self._projection is None:
                self._projection = optuna_mirror.Projection(
                    database.address, database.fence, timeout=database.timeout
                )
            known = self._projection.knows(study)
            try:
                self._add(self._projection, study, distributions, values, ended if known else None)
            except optuna_mirror.CopyGone:
                try:
                    self._add(self._projection, study, distributions, values, None)
                except optuna_mirror.CopyGone as error:
                    raise StorageError(
                        f"study {study.name!r}: its copy in Optuna's tables was deleted twice while it was "
                        "written; leave it alone, then tune resume goes on"
                    ) from error
            return self._projection.name(study)

    def _add(
        self,
        target: Projection,
        study: StudyHead,
        distributions: Mapping[str, Any],
        values: Values,
        ended: Collection[int] | None,
    ) -> None:
        # Only what is not yet there: a study's thousandth trial costs no more than its first.
        present = target.present(study)
        with self._database.reading() as connection:
            found = queries.trials(connection, study.id, ended)
            pending = tuple(
                trial for trial in found if trial.state != "running" and trial.number not in present
            )
            points = queries.curve(connection, study.id, [trial.number for trial in pending])
        target.write(study, pending, points, distributions, values)
