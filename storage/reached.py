"""How far each study is that we write: counted once, noted beside its files, compared when it is taken up."""

from __future__ import annotations

from ..errors import StorageError
from . import progress_note, queries, upkeep
from .connections import Connections


class Reached:
    """What the owner of studies remembers of how far they are, so that it need not count them again."""

    def __init__(self) -> None:
        self._known: dict[int, progress_note.Progress] = {}

    def take(self, study_id: int) -> progress_note.Progress | None:
        """Return what is remembered of a study and forget it, until the change that follows is committed."""
        return self._known.pop(study_id, None)

    def keep(self, study_id: int, progress: progress_note.Progress) -> None:
        """Remember what was committed of a study."""
        self._known[study_id] = progress


def check_not_behind(database: Connections, study_id: int) -> None:
    """Raise ``StorageError`` where the database is older than the study's files."""
    folder = database.address.artifacts / str(study_id)
    noted = progress_note.read(folder)  # first, since a search may write meanwhile
    with database.reading() as connection:
        found = queries.progress(connection, study_id)
    if noted is not None and found.lacks(noted):
        path, note = database.address.path, folder / progress_note.FILE
        log = f"its log {upkeep.log_of(path).name} is missing or " if path else ""
        raise StorageError(
            f"{database.url}: holds {found.words}, but {noted.words} were recorded: {log}it is an older "
            f"copy; put what is newer back, or delete {note} to go on from here"
        )
