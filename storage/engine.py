"""Where the database is, and how it is connected to: the settings that durability and fencing rest on.

Knows nothing of our tables but the lease that a write is held against.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from ..errors import StaleOwner, StorageError
from . import database_errors, header

ARTIFACTS = "tune-artifacts"
"""Folder of checkpoints and adapters, beside the database."""

LOCK_SLICE_MS = 250
"""Milliseconds of one try for the write lock by a search, which tries on."""

_LOCK = 7_881_172_301
"""Key of PostgreSQL's advisory lock: our writes follow one another, as they do in SQLite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database is; made by ``parse``."""

    url: sqlalchemy.URL
    """As SQLAlchemy takes it, password included: never printed."""
    path: Path | None
    """The file of a SQLite database; None for a server."""

    @property
    def shown(self) -> str:
        """The address as it may be printed."""
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @property
    def artifacts(self) -> Path:
        """The folder for checkpoints and adapters: beside the file, or in the working directory."""
        return (self.path.parent if self.path else Path.cwd()) / ARTIFACTS


@dataclasses.dataclass(kw_only=True)
class Fence:
    """The leases that this process believes to hold; every write is compared with them."""

    held: dict[int, int] = dataclasses.field(default_factory=dict)
    """Fencing token by study id."""
    waiting: Callable[[float], None] | None = None
    """Told again and again for how many seconds a write has waited for another program's lock, and may raise
    to end the wait. None: a write gives up once its time is over."""

    def check(self, connection: sqlalchemy.Connection) -> None:
        """Raise ``StaleOwner`` unless every lease is still ours; the write lock is held."""
        if not self.held:
            return
        rows = connection.exec_driver_sql("SELECT study_id, token FROM tune_leases").all()
        tokens = {int(row[0]): int(row[1]) for row in rows}
        lost = [study for study, token in self.held.items() if tokens.get(study) != token]
        if lost:
            raise StaleOwner(
                f"study {lost[0]}: another process took it over; nothing more is written from here, "
                "and tune show says how far it is"
            )


def parse(url_or_path: str) -> Address:
    """Return the address of a path, a ``sqlite:///path`` or a ``postgresql+psycopg://`` URL.

    Raises ``StorageError``, never with a password in it.
    """
    if "://" not in url_or_path:
        return _file(url_or_path)
    try:
        url = sqlalchemy.make_url(url_or_path)
    except (ArgumentError, ValueError):
        raise StorageError(
            "--storage: not a valid database URL; write a path such as tune.db, or sqlite:///tune.db"
        ) from None
    if url.get_backend_name() == "sqlite":
        if url.query:
            raise StorageError(f"--storage: {url_or_path!r}: options after '?' are not taken; leave them out")
        return _file(url.database or "")
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return Address(url=url.set(drivername="postgresql+psycopg"), path=None)
    raise StorageError(
        f"--storage: {url.drivername!r} databases are not supported; "
        "write a path such as tune.db, or a URL that begins with sqlite:/// or postgresql+psycopg://"
    )


def _file(path: str) -> Address:
    if not path or path == ":memory:":
        raise StorageError("--storage: a study must outlive the program; write a path such as tune.db")
    if "\0" in path:
        raise StorageError(f"--storage: {path!r} is no path; write one such as tune.db")
    try:
        absolute = Path(path).expanduser().absolute()
    except RuntimeError:
        raise StorageError(f"--storage: {path!r} is in the home of a user that there is not") from None
    return Address(url=sqlalchemy.URL.create("sqlite", database=str(absolute)), path=absolute)


def make_writer(address: Address, fence: Fence, *, timeout: float) -> sqlalchemy.Engine:
    """Return an engine whose transactions hold the write lock from their start and respect the fence.

    Execution option ``reading=True`` makes one that only reads, and waits for nobody.
    """
    engine = sqlalchemy.create_engine(address.url, **engine_options(address, timeout=timeout))
    guard(engine, fence)
    return engine


def engine_options(address: Address, *, timeout: float) -> dict[str, Any]:
    """Return the arguments of ``create_engine`` that every writing engine needs, Optuna's too."""
    if address.path is not None:
        path = address.path
        return {"creator": lambda: _connect_to_write(path, timeout), "poolclass": QueuePool}
    return {
        "creator": _server_connector(address, timeout),
        "poolclass": QueuePool,
        "pool_pre_ping": True,  # connections idle through a long round are dropped by servers
    }


def guard(engine: sqlalchemy.Engine, fence: Fence) -> None:
    """Make every transaction of the engine take the write lock first, then pass the fence.

    The compare and the write share one transaction: no other owner can come between.
    """

    @event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        server = connection.dialect.name == "postgresql"
        if connection.get_execution_options().get("reading"):
            connection.exec_driver_sql("SET TRANSACTION READ ONLY" if server else "BEGIN")
            return
        if server:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        else:
            _begin_immediate(connection, fence)
        try:
            fence.check(connection)
        except BaseException:
            # SQLAlchemy does not yet know of this transaction, so we end it.
            connection.connection.rollback()
            raise


def _begin_immediate(connection: sqlalchemy.Connection, fence: Fence) -> None:
    """Take SQLite's write lock; where the fence has somebody to tell, however long that takes."""
    if fence.waiting is None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    # In short slices, because SQLite's own wait lets no signal through.
    (patience,) = connection.exec_driver_sql("PRAGMA busy_timeout").one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {LOCK_SLICE_MS}")
    begun = time.monotonic()
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except sqlalchemy.exc.OperationalError as error:
                if database_errors.sqlite_code(error) not in database_errors.HELD:
                    raise
                fence.waiting(time.monotonic() - begun)
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience}")


def make_reader(address: Address, *, timeout: float) -> sqlalchemy.Engine:
    """Return an engine that cannot write and leaves no file behind."""
    if address.path is not None:
        path = address.path
        # A new connection each time: how the file must be opened depends on whether a writer lives.
        engine = sqlalchemy.create_engine(
            address.url, creator=lambda: connect_to_read(path, timeout), poolclass=NullPool
        )
    else:
        engine = sqlalchemy.create_engine(
            address.url, creator=_server_connector(address, timeout), poolclass=NullPool
        )

    @event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        server = connection.dialect.name == "postgresql"
        connection.exec_driver_sql("SET TRANSACTION READ ONLY" if server else "BEGIN")

    return engine


def create_file(path: Path) -> None:
    """Make an empty file that the user alone can read; SQLite gives -wal and -shm the same rights."""
    with database_errors.translated_files(path):
        try:
            header.create(path)
        except FileExistsError:
            return


def _connect_to_write(path: Path, timeout: float) -> sqlite3.Connection:
    # mode=rw: SQLite must not make the file itself, it would do so with the rights of the umask.
    connection = connect(path, "mode=rw", timeout)
    try:
        _set_journal(connection, timeout)
        # FULL syncs the log at every commit. With NORMAL a power cut rolls back the last commits,
        # and the row that comes back then names a checkpoint that was deleted after the newer one.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _set_journal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to WAL, so that readers never wait; the switch ignores the busy timeout, so we repeat it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if database_errors.sqlite_code(error) not in database_errors.HELD or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def connect_to_read(path: Path, timeout: float) -> sqlite3.Connection:
    """Open without creating anything, whether a writer lives, died, or left in good order."""
    attempts, deadline = 5, time.monotonic() + timeout
    reads_alone = True
    while True:
        attempts -= 1
        log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
        with database_errors.translated_files(path):
            writes_to_log = header.has_log(path)
        if not writes_to_log:
            # Another program's file, with a rollback journal: it must be locked, and nothing is made.
            options = "mode=ro"
        elif index.exists() and reads_alone:
            # A writer lives or died: SQLite reads its log, in memory of our own where the writer is gone.
            options = "mode=ro&readonly_shm=1"
        elif index.exists() or (log.exists() and log.stat().st_size > 0):
            # A log without its index, as after copying two files of three, or one that cannot be read in
            # memory of our own: SQLite must make the index.
            options = "mode=ro"
        else:
            # Nobody has it open. Plain mode=ro would make -wal and -shm, or fail in a read-only folder.
            options = "mode=ro&immutable=1"
        connection = connect(path, options, timeout)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            code = database_errors.sqlite_code(error)
            # A writer that came or went in between, or whose log another process takes over after its death,
            # for as long as that takes; look again.
            again = code == "SQLITE_PROTOCOL" and time.monotonic() < deadline
            # Seen to last as long as one waits: the index is then left to SQLite, as any reader leaves it.
            reads_alone = reads_alone and not again
            if not again and (attempts <= 0 or code not in ("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
            time.sleep(0.02)
        except BaseException:
            connection.close()
            raise


def connect(path: Path, options: str, timeout: float) -> sqlite3.Connection:
    """Open a SQLite file, no transaction begun; ``options`` as its URL takes them."""
    with header.opening:
        return sqlite3.connect(
            f"file:{urllib.parse.quote(os.fsencode(path))}?{options}",
            uri=True,
            timeout=timeout,
            isolation_level=None,  # the driver begins nothing by itself; guard() does
            check_same_thread=False,  # the pool hands a connection to one thread at a time
        )


def _server_connector(address: Address, timeout: float) -> Callable[[], Any]:
    """Return a function that connects to PostgreSQL; raises ``StorageError`` without its driver."""
    try:
        dialect = sqlalchemy.create_engine(address.url).dialect
    except ImportError:
        raise StorageError("--storage: PostgreSQL needs its driver; pip install 'psycopg[binary]'") from None
    arguments, options = dialect.create_connect_args(address.url)
    options.setdefault("connect_timeout", max(1, int(timeout)))

    def connect() -> Any:
        connection: Any = dialect.connect(*arguments, **options)
        connection.execute(f"SET lock_timeout = {int(timeout * 1000)}")
        connection.commit()
        return connection

    return connect
