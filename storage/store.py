"""The one door to the record: every study is made, read, owned and written through a ``Store``.

Our tables are the record and Optuna's a copy of it (optuna_mirror.py). Each method is one transaction;
one that writes holds the database's write lock from its start and first compares the fencing token.
Does not decide anything: what to try, stop or keep is decided by pure functions elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy
from sqlalchemy import func, insert, select, update

from ..errors import StorageError, StudyExists, StudyNotFound, nearest
from ..spaces.params import LoraParams
from ..study.records import (
    CurvePoint,
    Ending,
    Evaluation,
    EventRecord,
    LeaseRecord,
    QuantumUpdate,
    StudyHead,
    StudyRecord,
    TrialRecord,
)
from . import (
    database_errors,
    engine,
    foreign,
    header,
    leases,
    migrations,
    ownership,
    progress_note,
    queries,
    rows,
    seals,
    study_files,
    tables,
    trial_writes,
    upkeep,
)

if TYPE_CHECKING:
    from ..study.facts import Facts
    from ..study.study_config import StudyConfig
    from .optuna_mirror import Projection

DEFAULT = "tune.db"
"""The database where the user names none."""

Mode = Literal["create", "write", "read"]
"""``create`` makes the database where there is none; ``read`` makes and changes nothing at all."""


class Store:
    """A database of studies and the folder of files beside it; made by ``Store.open``."""

    def __init__(self, address: engine.Address, mode: Mode, timeout: float) -> None:
        self._address = address
        self._mode = mode
        self._timeout = timeout
        self._fence = engine.Fence()
        self._engine = (
            engine.make_reader(address, timeout=timeout)
            if mode == "read"
            else engine.make_writer(address, self._fence, timeout=timeout)
        )
        self._projection: Projection | None = None
        self._reached: dict[int, progress_note.Progress] = {}
        self._unsealed = False
        self._file: tuple[int, int] | None = None
        if address.path is not None:
            with database_errors.translated_files(address.path):
                found = address.path.stat()
                self._file = (found.st_dev, found.st_ino)

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
        address = engine.parse(url_or_path)
        if address.path is not None:
            check_path(address.path)
            if not address.path.exists():
                if mode != "create":
                    raise StudyNotFound(
                        f"{address.path}: no such database; tune search makes one, "
                        "or name another with --storage"
                    )
                engine.create_file(address.path)
            elif mode != "read":
                found = foreign.look(address.path, timeout=timeout)
                if mode == "create":
                    foreign.check_may_hold_ours(address.path, found)
                elif found.whose != "ours":
                    raise _holds_no_study(address.shown)
        store = cls(address, mode, timeout)
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    def _prepare(self) -> None:
        """Bring the schema up to date, or check that it can be read as it is."""
        with self._transaction() as connection:
            found = migrations.version(connection)
            if found is not None:
                migrations.check(found, self.url)
            if self._mode == "create" or (self._mode == "write" and found is not None):
                migrations.migrate(connection, found)
                # A file that may only be read opens as if it might be written; this tells at once.
                connection.execute(update(tables.schema).values(version=tables.schema.c.version))
            elif found is None:
                raise _holds_no_study(self.url)
            elif found < migrations.READABLE:
                raise StorageError(
                    f"{self.url}: written by an older loratune; tune resume brings it up to date"
                )
            self._unsealed = self._mode == "read" and found is not None and found < migrations.SEALED

    @property
    def url(self) -> str:
        """The database as it may be printed: its path, or its URL without the password."""
        return self._address.shown

    @property
    def artifacts(self) -> Path:
        """The folder of checkpoints and adapters of all studies."""
        return self._address.artifacts

    def close(self) -> None:
        """Give up what is owned and close every connection; never raises for a lease that was lost."""
        for study_id in list(self._fence.held):
            with contextlib.suppress(StorageError):
                self.release(study_id)
        if self._projection is not None:
            self._projection.close()
            self._projection = None
        self._engine.dispose()
        header.let_go()

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
        self._fence.waiting = told

    # Studies

    def create_study(self, *, name: str, trials: int, config: StudyConfig, facts: Facts) -> StudyRecord:
        """Make a study and its folder; raises ``StudyExists`` where the name is taken."""
        with self._transaction() as connection:
            if queries.head(connection, name) is not None:
                raise StudyExists(
                    f"study {name!r}: exists in {self.url}; tune resume {name} goes on with it, "
                    "or choose another name with --study"
                )
            if queries.optuna_has(connection, name):
                raise foreign.taken_in_optuna(name, self.url)
            rows.check_name(name)  # one that is there already may be of an older, laxer rule
            least = (connection.execute(select(func.max(tables.studies.c.id))).scalar() or 0) + 1
            study_id = study_files.reserve(self.artifacts, least)
            at = rows.now()
            row = {"id": study_id, "name": name, "created_at": at, "touched_at": at}
            row |= {"trials": trials, "seed": config.seed}
            row |= {"config": config.to_json(), "facts": facts.to_json()}
            connection.execute(insert(tables.studies).values(row))
            seals.put(connection, tables.studies, tables.studies.c.id == study_id)
        return self.study(name)

    def studies(self) -> tuple[StudyHead, ...]:
        """Return the head of every study, oldest first: also of one that another version wrote."""
        with self._reading() as connection:
            return queries.studies(connection)

    def study(self, name: str | None) -> StudyRecord:
        """Return a study by its name, or the one last worked on; raises ``StudyNotFound``."""
        with self._reading() as connection:
            found = queries.study(connection, name)
            known = queries.names(connection) if found is None else ()
        if found is not None:
            return found
        if not known:
            raise StudyNotFound(f"{self.url}: holds no study yet; tune search makes one")
        raise StudyNotFound(
            f"study {name!r}: not in {self.url}{nearest(str(name), known)}; tune list shows what is"
        )

    def set_trials(self, study_id: int, trials: int) -> None:
        """Change how many trials a study is to have in all."""
        with self._writing(study_id) as connection:
            self._change_study(connection, study_id, trials=trials)

    def set_facts(self, study_id: int, facts: Facts) -> None:
        """Add to what is known of a study: facts that were not taken yet when it was made."""
        with self._writing(study_id) as connection:
            self._change_study(connection, study_id, facts=facts.to_json())

    # Ownership

    def acquire(self, study_id: int, *, take_over: bool = False) -> LeaseRecord:
        """Become the only one who may write a study, until ``release`` or ``close``.

        An owner that no longer runs is followed without a word. ``take_over`` first ends an owner on this
        machine, and displaces one that cannot be seen from here; its later writes are refused.

        Raises ``StudyBusy`` where another owner stands in the way, and ``StorageError`` where the database
        is older than the study's files: what goes on from there would overwrite what was lost.
        """
        self._check_not_behind(study_id)
        me = leases.here()
        ended: leases.Process | None = None
        while True:
            mine = self._fence.held.pop(study_id, None)
            self._reached.pop(study_id, None)
            try:
                with self._transaction() as connection:
                    name = self._touch(connection, study_id)
                    claimed = ownership.claim(
                        connection, study_id, name, mine=mine, me=me, take_over=take_over, ended=ended
                    )
            except BaseException:
                if mine is not None:
                    self._fence.held[study_id] = mine
                raise
            if isinstance(claimed, int):
                self._fence.held[study_id] = claimed
                return rows.lease(me, claimed, alive=True)
            # Outside the transaction: the owner must be able to write its last words.
            leases.end(claimed)
            ended = claimed

    def check_free(self, name: str) -> None:
        """Raise ``StudyBusy`` where a process that may be alive owns the study of that name."""
        with self._reading() as connection:
            found = queries.head(connection, name)
            if found is not None:
                ownership.check_free(connection, found.id, found.name)

    def release(self, study_id: int) -> None:
        """Give up a study; does nothing where it is not owned. Raises ``StaleOwner`` where it was lost."""
        if study_id not in self._fence.held:
            return
        try:
            with self._transaction() as connection:
                ownership.give_up(connection, study_id)
        finally:
            self._fence.held.pop(study_id, None)
            self._reached.pop(study_id, None)

    def lease(self, study_id: int) -> LeaseRecord | None:
        """Return who owns a study; None where nobody does."""
        with self._reading() as connection:
            owner, token = ownership.read(connection, study_id)
        if owner is None:
            return None
        found = leases.standing(owner, leases.here(), leases.running)
        return rows.lease(owner, token, alive=found != "dead")

    # Trials

    def add_trial(self, study_id: int, *, number: int, params: LoraParams, seed: int, source: str) -> None:
        """Add a running trial; its number must be the next one."""
        with self._writing(study_id) as connection:
            trial_writes.add(connection, study_id, number, params, seed, source)
            known = self._reached.pop(study_id, None)
        if known is not None:
            self._reached[study_id] = known.after(trials=1)

    def begin_attempt(self, study_id: int, number: int) -> int:
        """Take a running trial up again and return its new attempt, which names its files."""
        with self._writing(study_id) as connection:
            return trial_writes.begin_attempt(connection, study_id, number)

    def record_quantum(
        self, study_id: int, updates: Sequence[QuantumUpdate], endings: Sequence[Ending] = ()
    ) -> None:
        """Record a quantum of several trials, and how some of them ended, in one transaction.

        The checkpoints must be on disk and synced: once recorded, the ones before them may go. A trial
        that has ended is never changed.
        """
        with self._writing(study_id) as connection:
            trial_writes.record(connection, study_id, self.study_dir(study_id), updates)
            trial_writes.finish(connection, study_id, self.study_dir(study_id), endings)
            # Counted once: while the study is ours, nobody else adds to it.
            known = self._reached.pop(study_id, None)
            if known is None:
                reached = queries.progress(connection, study_id)
            else:
                reached = known.after(quanta=len(updates), ended=len(endings))
        if study_id in self._fence.held:
            self._reached[study_id] = reached
        progress_note.write(self.study_dir(study_id), reached)

    def trials(self, study_id: int) -> tuple[TrialRecord, ...]:
        """Return a study's trials by number."""
        with self._reading() as connection:
            return queries.trials(connection, study_id)

    def curve(self, study_id: int, trial: int | None = None) -> tuple[CurvePoint, ...]:
        """Return the points of one trial or of all, by trial and quantum."""
        with self._reading() as connection:
            return queries.curve(connection, study_id, None if trial is None else [trial])

    def evaluation(self, study_id: int, trial: int, quantum: int) -> Evaluation | None:
        """Return the losses per example of a trial after a quantum; None where there are none."""
        with self._reading() as connection:
            return queries.evaluations(connection, study_id, quantum, trial).get(trial)

    def evaluations(self, study_id: int, quantum: int) -> dict[int, Evaluation]:
        """Return the losses per example of every trial that was evaluated after a quantum."""
        with self._reading() as connection:
            return queries.evaluations(connection, study_id, quantum)

    # Events

    def add_event(self, study_id: int, kind: str, /, **detail: Any) -> None:
        """Record something that happened; the details must be JSON."""
        with self._writing(study_id) as connection:
            row = {"study_id": study_id, "at": rows.now(), "kind": kind, "detail": detail}
            added = connection.execute(insert(tables.events).values(row)).inserted_primary_key
            assert added is not None
            seals.put(connection, tables.events, tables.events.c.id == added[0])

    def events(self, study_id: int, kind: str | None = None) -> tuple[EventRecord, ...]:
        """Return what happened, in order; all kinds or one."""
        with self._reading() as connection:
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
        # Only here: Optuna takes a quarter of a second to import.
        from . import optuna_mirror

        owned = study_id in self._fence.held
        # Refused here, where the study is another's; what follows is compared with our lease anyway.
        with self._reading() if owned else self._writing(study_id) as connection:
            study = queries.head_of(connection, study_id)
        with database_errors.translated(self.url):
            if self._projection is None:
                self._projection = optuna_mirror.Projection(self._address, self._fence, timeout=self._timeout)
            known = self._projection.knows(study)
            try:
                self._project(self._projection, study, distributions, values, ended if known else None)
            except optuna_mirror.CopyGone:
                try:
                    self._project(self._projection, study, distributions, values, None)
                except optuna_mirror.CopyGone as error:
                    raise StorageError(
                        f"study {study.name!r}: its copy in Optuna's tables was deleted twice while it was "
                        "written; leave it alone, then tune resume goes on"
                    ) from error
            return self._projection.name(study)

    def _project(
        self,
        target: Projection,
        study: StudyHead,
        distributions: Mapping[str, Any],
        values: Mapping[int, Mapping[str, Any]],
        ended: Collection[int] | None,
    ) -> None:
        # Only what is not yet there: a study's thousandth trial costs no more than its first.
        present = target.present(study)
        with self._reading() as connection:
            found = queries.trials(connection, study.id, ended)
            pending = tuple(
                trial for trial in found if trial.state != "running" and trial.number not in present
            )
            points = queries.curve(connection, study.id, [trial.number for trial in pending])
        target.write(study, pending, points, distributions, values)

    # The file of the database

    def fold_log(self) -> bool:
        """Move SQLite's log into its file, so that the file alone holds all; return whether that is done.

        Waits for nobody and never fails: where a reader needs the log still, the next call tries again.
        """
        path = self._address.path
        return path is None or self._mode == "read" or upkeep.fold(path)

    def backup(self, to: Path) -> None:
        """Write the whole database into a new file, as it is now; a search may run meanwhile.

        Raises ``StorageError``.
        """
        if self._address.path is None:
            raise StorageError(f"{self.url}: is not a file; a server's own tool copies it, such as pg_dump")
        upkeep.backup(self._address.path, to)

    def _check_not_behind(self, study_id: int) -> None:
        noted = progress_note.read(self.study_dir(study_id))  # first, since a search may write meanwhile
        with self._reading() as connection:
            found = queries.progress(connection, study_id)
        if noted is not None and found.lacks(noted):
            path, note = self._address.path, self.study_dir(study_id) / progress_note.FILE
            log = f"its log {upkeep.log_of(path).name} is missing or " if path else ""
            raise StorageError(
                f"{self.url}: holds {found.words}, but {noted.words} were recorded: {log}it is an older "
                f"copy; put what is newer back, or delete {note} to go on from here"
            )

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
        path = self._address.path
        return None if path is None else study_files.database_size(path)

    def keep_adapters(self, study_id: int, best: int) -> None:
        """Keep the adapters of the best complete trials, and delete every file that no trial needs.

        A row forgets its file before the file goes. Half-written files of killed searches go too.
        """
        present = study_files.listing(self.study_dir(study_id))
        with self._writing(study_id) as connection:
            trial_writes.forget_adapters(connection, study_id, queries.best(connection, study_id, best))
        # Of those trials alone: what no file is of cannot be swept.
        with self._reading() as connection:
            trials = queries.trials(connection, study_id, study_files.trials_of(present))
        study_files.sweep(self.study_dir(study_id), present, trials)
        study_files.sweep_leftovers(self.study_dir(study_id), self.artifacts / study_files.CACHE)

    # Transactions

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        """One transaction; it writes unless the store was opened to read."""
        self._check_file()
        with database_errors.translated(self.url), self._engine.begin() as connection:
            yield connection

    def _check_file(self) -> None:
        """Raise ``StorageError`` where the file that we write is no longer the one of that path.

        SQLite would go on writing to a deleted file, and every trial would be lost with it.
        """
        path = self._address.path
        if path is None or self._mode == "read":
            return
        try:
            found = path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file:
            raise StorageError(f"{path}: was deleted or replaced while in use; put it back and tune resume")

    def reading(self) -> contextlib.AbstractContextManager[sqlalchemy.Connection]:
        """One transaction that only reads, for who must see several things of one moment."""
        return self._reading()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlalchemy.Connection]:
        with database_errors.translated(self.url), self._engine.connect() as connection:
            yield connection.execution_options(reading=True, unsealed=self._unsealed)

    @contextlib.contextmanager
    def _writing(self, study_id: int) -> Iterator[sqlalchemy.Connection]:
        """One transaction on a study that nobody else may be writing."""
        if self._mode == "read":
            raise StorageError(f"{self.url}: was opened to read only")
        with self._transaction() as connection:
            if study_id not in self._fence.held:
                ownership.check_not_lost(connection, study_id)
            self._touch(connection, study_id)
            yield connection

    def _change_study(self, connection: sqlalchemy.Connection, study_id: int, **values: Any) -> None:
        queries.head_of(connection, study_id)  # refused where it is damaged
        chosen = tables.studies.c.id == study_id
        connection.execute(update(tables.studies).where(chosen).values(values))
        seals.put(connection, tables.studies, chosen)

    def _touch(self, connection: sqlalchemy.Connection, study_id: int) -> str:
        """Mark a study as the one last worked on and return its name; ``StudyNotFound`` without it."""
        table = tables.studies
        connection.execute(update(table).where(table.c.id == study_id).values(touched_at=rows.now()))
        name = connection.execute(select(table.c.name).where(table.c.id == study_id)).scalar()
        if name is None:
            raise StudyNotFound(f"study {study_id}: not in {self.url}; tune list shows what is")
        return str(name)


def _holds_no_study(shown: str) -> StudyNotFound:
    return StudyNotFound(
        f"{shown}: holds no study of loratune; tune search makes one, or name another database with --storage"
    )


def check_path(path: Path) -> None:
    """Raise ``StorageError`` where a database can neither lie at a path nor be made there."""
    with database_errors.translated_files(path):
        if path.is_dir():
            raise StorageError(f"{path}: is a folder; name a file in it, such as {path / 'tune.db'}")
        if path.exists() and not path.is_file():
            raise StorageError(f"{path}: is a device or a pipe; name a file, such as tune.db")
        if not path.parent.is_dir():
            raise StorageError(f"{path}: its folder does not exist; make it, or name another with --storage")
