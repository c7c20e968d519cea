"""What may be asked of a database about deleting studies; reached by ``Store.deletions``.

Each method is a transaction and a call: rows are deletion.py's matter, files deleted_files.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from . import deleted_files, deletion
from .connections import Connections


class Deletions:
    """Studies that may be deleted, and those that were."""

    def __init__(self, database: Connections) -> None:
        self._database = database

    def parents(self) -> dict[str, str | None]:
        """Return the name of every study, and of the one that it follows from; None for a search."""
        with self._database.reading() as connection:
            return deletion.parents(connection)

    def find(self, names: Sequence[str]) -> tuple[deletion.Deleted, ...]:
        """Return studies as they would be deleted; raises what ``delete`` would."""
        with self._database.reading() as connection:
            return deletion.find(connection, self._database.url, names)

    def delete(
        self, names: Sequence[str], *, agreed: Collection[int] | None = None
    ) -> tuple[deletion.Deleted, ...]:
        """Delete studies and Optuna's copies, all or none, in one transaction; files are left.

        ``agreed`` are the numbers that they must have, where they were asked about before. Raises
        ``StudyNotFound`` or ``StudyBusy``.
        """
        on_server = self._database.address.path is None
        with self._database.transaction() as connection:
            return deletion.delete_studies(
                connection, self._database.url, names, agreed=agreed, leave_files=on_server
            )

    def delete_files(self, study: deletion.Deleted) -> deleted_files.Freed:
        """Delete the files of a deleted study, unless they may be another's."""
        return deleted_files.delete(self._database, study)

    def shares_its_folder(self) -> bool:
        """Return whether a database beside, or one that cannot be read, may use the same folder of files."""
        return deleted_files.shares_its_folder(self._database)

    def unfinished(self) -> tuple[deletion.Deleted, ...]:
        """Return the deleted studies whose files an interruption may have left."""
        with self._database.reading() as connection:
            return deletion.unfinished(connection)

    def looks(self, fingerprint: str) -> int:
        """Return how often studies that are deleted had looked at the test set of these data."""
        with self._database.reading() as connection:
            return deletion.times_opened(connection, fingerprint)
