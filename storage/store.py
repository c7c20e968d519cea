"""The one door to the record: every study is made, read, owned and written through a ``Store``.

Our tables are the record and Optuna's a copy of it. A method asks for a transaction (connections.py) and
hands it to what knows the rows: studies.py, trial_writes.py, queries.py, ownership.py. One that writes holds
the database's write lock from its start and first compares the fencing token. Does not decide anything: what
to try, stop or keep is decided by pure functions elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import sqlalchemy

from ..errors import StorageError
from ..spaces.params import LoraParams
from ..study.records import (
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
from . import (
    event_writes,
    holding,
    opening,
    ownership,
    progress_note,
    queries,
    reached,
    studies,
    study_files,
    trial_writes,
    upkeep,
)
from .connections import Connections, Mode
from .deletions import Deletions
from .optuna_copy import OptunaCopy

if TYPE_CHECKING:
    from ..study.facts import Facts
    from ..study.study_config import StudyConfig

DEFAULT = "tune.db"
"""The database where the user names none."""


class Store:
    """A database of studies and the folder of files beside it; made by ``Store.open``."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._copy = OptunaCopy(connections)
        self._reached = reached.Reached()
        self.deletions = Deletions(connections)
        """Studies that may be deleted, and those that were."""

    @classmethod
    def open(cls, url_or_path: str, *, mode: Mode, timeout: float = 30.0) -> Store:
        """Open a database by its path, ``sqlite:///path`` or ``postgresql+psycopg://`` URL.

        Args:
            url_or_path: where it is.
            mode: ``create``, ``write`` (it must be there) or ``read``.
            timeout: seconds to wait while another program holds the write lock.

        Raises:
            StudyNotFound: there is no such database, or none of ours, and it may not be made.
            StorageError: it cannot be used; says why and what to do.
        """
        return cls(opening.open_database(url_or_path, mode=mode, timeout=timeout))

    @property
    def url(self) -> str:
        """The database as it may be printed: its path, or its URL without the password."""
        return self._connections.url

    @property
    def artifacts(self) -> Path:
        """The folder of checkpoints and adapters of all studies."""
        return self._connections.address.artifacts

    def close(self) -> None:
        """Give up what is owned and close every connection; never raises for a lease that was lost."""
        for study_id in list(self._connections.fence.held):
            with contextlib.suppress(StorageError):
                self.release(study_id)
        self._copy.close()
        self._connections.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_for_lock(self, told: Callable[[float], None] | None) -> None:
        """Let writes wait as long as another program holds the database, from now on.

        ``told`` hears every moment for how many seconds one has waited, and may raise to end the wait.
        None: writes give up after the store's timeout again.
        """
        self._connections.fence.waiting = told

    # Studies

    def create_study(self, *, name: str, trials: int, config: StudyConfig, facts: Facts) -> StudyRecord:
        """Make a study and its folder; raises ``StudyExists`` where the name is taken."""
        with self._connections.transaction() as connection:
            studies.create(
                connection, self.url, self.artifacts, name=name, trials=trials, config=config, facts=facts
            )
        return self.study(name)

    def studies(self) -> tuple[StudyHead, ...]:
        """Return the head of every study, oldest first: also of one that another version wrote."""
        with self._connections.reading() as connection:
            return queries.studies(connection)

    def study_ids(self) -> tuple[int, ...]:
        """Return the id of every study, oldest first: also of one whose row is damaged."""
        with self._connections.reading() as connection:
            return queries.ids(connection)

    def head(self, study_id: int) -> StudyHead:
        """Return the head of a study that is there, by its id."""
        with self._connections.reading() as connection:
            return queries.head_of(connection, study_id)

    def origin(self, study_id: int) -> Origin:
        """Return what a study that is there follows from, by its id, without all that it is made of."""
        with self._connections.reading() as connection:
            return queries.origin_of(connection, study_id)

    def holds(self, name: str) -> bool:
        """Return whether there is a study of that name, whatever state its row is in."""
        with self._connections.reading() as connection:
            return name in queries.names(connection)

    def is_free(self, name: str) -> bool:
        """Return whether a study may be made under that name: none has it, of ours or of Optuna's alone."""
        with self._connections.reading() as connection:
            return name not in queries.names(connection) and not queries.optuna_has(connection, name)

    def study(self, name: str | None) -> StudyRecord:
        """Return a study by its name, or the one last worked on; raises ``StudyNotFound``."""
        with self._connections.reading() as connection:
            return studies.find(connection, self.url, name)

    def set_trials(self, study_id: int, trials: int) -> None:
        """Change how many trials a study is to have in all."""
        with self._connections.writing(study_id) as connection:
            studies.change(connection, study_id, trials=trials)

    def set_facts(self, study_id: int, facts: Facts) -> None:
        """Add to what is known of a study: facts that were not taken yet when it was made."""
        with self._connections.writing(study_id) as connection:
            studies.change(connection, study_id, facts=facts.to_json())

    # Ownership

    def acquire(self, study_id: int, *, take_over: bool = False) -> LeaseRecord:
        """Become the only one who may write a study, until ``release`` or ``close``.

        An owner that no longer runs is followed without a word. ``take_over`` first ends an owner on this
        machine, and displaces one that cannot be seen from here; its later writes are refused.

        Raises ``StudyBusy`` where another owner stands in the way, and ``StorageError`` where the database
        is older than the study's files: what goes on from there would overwrite what was lost.
        """
        reached.check_not_behind(self._connections, study_id)
        self._reached.take(study_id)
        return holding.acquire(self._connections, study_id, take_over=take_over)

    def check_free(self, name: str) -> None:
        """Raise ``StudyBusy`` where a process that may be alive owns the study of that name."""
        with self._connections.reading() as connection:
            found = queries.head(connection, name)
            if found is not None:
                ownership.check_free(connection, found.id, found.name)

    def release(self, study_id: int) -> None:
        """Give up a study; does nothing where it is not owned. Raises ``StaleOwner`` where it was lost."""
        if study_id in self._connections.fence.held:
            self._reached.take(study_id)
            holding.release(self._connections, study_id)

    def lease(self, study_id: int) -> LeaseRecord | None:
        """Return who owns a study; None where nobody does."""
        return holding.owner(self._connections, study_id)

    # Trials

    def add_trial(
        self,
        study_id: int,
        *,
        number: int,
        params: LoraParams,
        seed: int,
        source: str,
        rounds: int = 0,
        checkpoint: str | None = None,
    ) -> None:
        """Add a running trial; its number must be the next one."""
        with self._connections.writing(study_id) as connection:
            trial_writes.add(
                connection,
                study_id,
                number,
                params,
                seed,
                source,
                rounds=rounds,
                checkpoint=checkpoint,
            )
            known = self._reached.take(study_id)
        if known is not None:
            self._reached.keep(study_id, known.after(trials=1))

    def begin_attempt(self, study_id: int, number: int) -> int:
        """Take a running trial up again and return its new attempt, which names its files."""
        with self._connections.writing(study_id) as connection:
            return trial_writes.begin_attempt(connection, study_id, number)

    def record_round(
        self, study_id: int, updates: Sequence[RoundUpdate], endings: Sequence[Ending] = ()
    ) -> None:
        """Record a round of several trials, and how some of them ended, in one transaction.

        The checkpoints must be on disk and synced: once recorded, the ones before them may go. A trial
        that has ended is never changed.
        """
        with self._connections.writing(study_id) as connection:
            trial_writes.record(connection, study_id, self.study_dir(study_id), updates)
            trial_writes.finish(connection, study_id, self.study_dir(study_id), endings)
            # Counted once: while the study is ours, nobody else adds to it.
            known = self._reached.take(study_id)
            if known is None:
                progress = queries.progress(connection, study_id)
            else:
                progress = known.after(rounds=len(updates), ended=len(endings))
        if study_id in self._connections.fence.held:
            self._reached.keep(study_id, progress)
        progress_note.write(self.study_dir(study_id), progress)

    def trials(self, study_id: int) -> tuple[TrialRecord, ...]:
        """Return a study's trials by number."""
        with self._connections.reading() as connection:
            return queries.trials(connection, study_id)

    def curve(self, study_id: int, trial: int | None = None) -> tuple[CurvePoint, ...]:
        """Return the points of one trial or of all, by trial and round."""
        with self._connections.reading() as connection:
            return queries.curve(connection, study_id, None if trial is None else [trial])

    def evaluation(self, study_id: int, trial: int, round_number: int) -> Evaluation | None:
        """Return the losses per example of a trial after a round; None where there are none."""
        with self._connections.reading() as connection:
            return queries.evaluations(connection, study_id, round_number, trial).get(trial)

    def evaluations(self, study_id: int, round_number: int) -> dict[int, Evaluation]:
        """Return the losses per example of every trial that was evaluated after a round."""
        with self._connections.reading() as connection:
            return queries.evaluations(connection, study_id, round_number)

    def final_evaluations(self, study_id: int) -> dict[int, Evaluation]:
        """Return the losses per example that trials ended with, by trial."""
        with self._connections.reading() as connection:
            return queries.final_evaluations(connection, study_id)

    # Events

    def add_event(self, study_id: int, kind: str, /, **detail: Any) -> None:
        """Record something that happened; the details must be JSON."""
        with self._connections.writing(study_id) as connection:
            event_writes.add(connection, study_id, kind, detail)

    def events(self, study_id: int, kind: str | None = None) -> tuple[EventRecord, ...]:
        """Return what happened, in order; all kinds or one."""
        with self._connections.reading() as connection:
            return queries.events(connection, study_id, kind)

    # Optuna's copy

    def project(
        self,
        study_id: int,
        distributions: Mapping[str, Any],
        values: Mapping[int, Mapping[str, Any]],
        *,
        ended: Collection[int] | None = None,
    ) -> str:
        """Give Optuna's tables what they lack of a study; call it between writes, any number of times.

        Returns the name of the study there: another than its own where a user's own study has that.

        Args:
            study_id: the study, owned by this store or by nobody.
            distributions: Optuna's distribution of each parameter that varies.
            values: by trial number, its parameters; as those distributions hold them.
            ended: the trials that have ended since the last call; None: whichever there are.
        """
        return self._copy.update(study_id, distributions, values, ended)

    # The file of the database

    def fold_log(self) -> bool:
        """Move SQLite's log into its file, so that the file alone holds all; return whether that is done.

        Waits for nobody and never fails: where a reader needs the log still, the next call tries again.
        """
        path = self._connections.address.path
        return path is None or self._connections.mode == "read" or upkeep.fold(path)

    def backup(self, to: Path) -> None:
        """Write the whole database into a new file, as it is now; a search may run meanwhile.

        Raises ``StorageError``.
        """
        path = self._connections.address.path
        if path is None:
            raise StorageError(f"{self.url}: is not a file; a server's own tool copies it, such as pg_dump")
        upkeep.backup(path, to)

    # Files

    def study_dir(self, study_id: int) -> Path:
        """Return the study's folder of files."""
        return self.artifacts / str(study_id)

    def disk_bytes(self, study_id: int) -> int:
        """Return how much the study's files take on disk."""
        return study_files.size(self.study_dir(study_id))

    def artifacts_bytes(self) -> int:
        """Return how much the files of all studies take on disk, cache and logs included."""
        return study_files.size(self.artifacts)

    def database_bytes(self) -> int | None:
        """Return how much the database and its log take on disk; None where a server holds it."""
        path = self._connections.address.path
        return None if path is None else study_files.database_size(path)

    def keep_adapters(self, study_id: int, best: int) -> None:
        """Keep the adapters of the best complete trials, and delete every file that no trial needs.

        A row forgets its file before the file goes. Half-written files of killed searches go too.
        """
        present = study_files.listing(self.study_dir(study_id))
        with self._connections.writing(study_id) as connection:
            trial_writes.forget_adapters(connection, study_id, queries.best(connection, study_id, best))
        # Of those trials alone: what no file is of cannot be swept.
        with self._connections.reading() as connection:
            trials = queries.trials(connection, study_id, study_files.trials_of(present))
        study_files.sweep(self.study_dir(study_id), present, trials)
        study_files.sweep_leftovers(self.study_dir(study_id), self.artifacts / study_files.CACHE)

    def reading(self) -> contextlib.AbstractContextManager[sqlalchemy.Connection]:
        """One transaction that only reads, for who must see several things of one moment."""
        return self._connections.reading()
