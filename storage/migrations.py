"""The schema's history: numbered steps, each run once in one transaction; appended, never edited.

A database remembers how far it has come in ``tune_schema``. One that has come further than this
program knows is refused, since its rows may mean something else there.
"""

from __future__ import annotations

import sqlalchemy

from ..errors import StorageError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: the first schema.
    (
        """CREATE TABLE tune_studies (
            id INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            created_at TEXT NOT NULL,
            touched_at TEXT NOT NULL,
            trials INTEGER NOT NULL CHECK (trials >= 0),
            seed BIGINT NOT NULL,
            config TEXT NOT NULL,
            facts TEXT NOT NULL
        )""",
        """CREATE TABLE tune_trials (
            study_id INTEGER NOT NULL REFERENCES tune_studies (id),
            number INTEGER NOT NULL CHECK (number >= 0),
            params TEXT NOT NULL,
            seed BIGINT NOT NULL,
            source TEXT NOT NULL,
            state TEXT NOT NULL
                CHECK (state IN ('running', 'complete', 'pruned', 'diverged', 'infeasible', 'failed')),
            reason TEXT,
            value DOUBLE PRECISION CHECK ((value IS NOT NULL) = (state = 'complete')),
            quanta INTEGER NOT NULL CHECK (quanta >= 0),
            attempt INTEGER NOT NULL CHECK (attempt >= 0),
            checkpoint TEXT,
            adapter TEXT,
            started_at TEXT NOT NULL,
            finished_at TEXT CHECK ((finished_at IS NULL) = (state = 'running')),
            PRIMARY KEY (study_id, number)
        )""",
        """CREATE TABLE tune_curve (
            study_id INTEGER NOT NULL REFERENCES tune_studies (id),
            trial INTEGER NOT NULL,
            quantum INTEGER NOT NULL CHECK (quantum >= 1),
            examples BIGINT NOT NULL,
            train_loss DOUBLE PRECISION,
            eval_loss DOUBLE PRECISION,
            learning_rate DOUBLE PRECISION NOT NULL,
            grad_norm DOUBLE PRECISION,
            tokens_per_second DOUBLE PRECISION NOT NULL,
            memory_bytes BIGINT NOT NULL,
            worker INTEGER NOT NULL,
            started_at TEXT NOT NULL,
            finished_at TEXT NOT NULL,
            PRIMARY KEY (study_id, trial, quantum),
            FOREIGN KEY (study_id, trial) REFERENCES tune_trials (study_id, number)
        )""",
        """CREATE TABLE tune_evaluations (
            study_id INTEGER NOT NULL REFERENCES tune_studies (id),
            trial INTEGER NOT NULL,
            quantum INTEGER NOT NULL,
            losses {bytes} NOT NULL,
            tokens {bytes} NOT NULL,
            PRIMARY KEY (study_id, trial, quantum),
            FOREIGN KEY (study_id, trial, quantum) REFERENCES tune_curve (study_id, trial, quantum)
        )""",
        """CREATE TABLE tune_events (
            id {counter},
            study_id INTEGER NOT NULL REFERENCES tune_studies (id),
            at TEXT NOT NULL,
            kind TEXT NOT NULL,
            detail TEXT NOT NULL
        )""",
        "CREATE INDEX tune_events_by_study ON tune_events (study_id, id)",
        """CREATE TABLE tune_leases (
            study_id INTEGER NOT NULL PRIMARY KEY REFERENCES tune_studies (id),
            token BIGINT NOT NULL,
            host TEXT,
            pid BIGINT,
            pid_started DOUBLE PRECISION,
            identity TEXT,
            acquired_at TEXT
        )""",
    ),
    # 2: a digest in every row of the record (seals.py); rows of before have none.
    (
        "ALTER TABLE tune_studies ADD COLUMN seal TEXT",
        "ALTER TABLE tune_trials ADD COLUMN seal TEXT",
        "ALTER TABLE tune_curve ADD COLUMN seal TEXT",
        "ALTER TABLE tune_evaluations ADD COLUMN seal TEXT",
        "ALTER TABLE tune_events ADD COLUMN seal TEXT",
    ),
    # 3: what is measured beside the loss, and what a study selects by where that is not the loss.
    (
        "ALTER TABLE tune_evaluations ADD COLUMN correct {bytes}",
        "ALTER TABLE tune_evaluations ADD COLUMN label_losses {bytes}",
        "ALTER TABLE tune_evaluations ADD COLUMN marks {bytes}",
        "ALTER TABLE tune_trials ADD COLUMN score DOUBLE PRECISION",
    ),
    # 4: what stays of deleted studies (deletion.py).
    (
        """CREATE TABLE tune_deleted (
            id INTEGER NOT NULL PRIMARY KEY,
            name TEXT NOT NULL,
            created_at TEXT NOT NULL,
            deleted_at TEXT NOT NULL,
            opened TEXT NOT NULL,
            has_files INTEGER NOT NULL
        )""",
    ),
)

LATEST = len(MIGRATIONS)
"""The version that this program reads and writes."""

READABLE = 1
"""The oldest version that can be read as it is; older ones must be brought up to date first."""

_WORDS = {
    "sqlite": {"bytes": "BLOB", "counter": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT"},
    "postgresql": {
        "bytes": "BYTEA",
        "counter": "INTEGER NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
    },
}


def version(connection: sqlalchemy.Connection) -> int | None:
    """Return how far the database has come; None where it holds no tables of ours."""
    if not sqlalchemy.inspect(connection).has_table("tune_schema"):
        return None
    return int(connection.exec_driver_sql("SELECT max(version) FROM tune_schema").scalar_one() or 0)


def check(found: int, shown: str) -> None:
    """Raise ``StorageError`` where the database is newer than this program."""
    if found > LATEST:
        raise StorageError(
            f"{shown}: written by a newer loratune (schema {found}, this one knows {LATEST}); "
            "upgrade loratune, or name another database with --storage"
        )


def migrate(connection: sqlalchemy.Connection, found: int | None) -> None:
    """Bring the database from the version ``found`` to ``LATEST``.

    In the transaction that found it, which holds the write lock: a second process that waited for the
    lock finds nothing left to do.
    """
    if found is None:
        connection.exec_driver_sql("CREATE TABLE tune_schema (version INTEGER NOT NULL PRIMARY KEY)")
        found = 0
    words = _WORDS[connection.dialect.name]
    for number, statements in enumerate(MIGRATIONS[found:], start=found + 1):
        for statement in statements:
            connection.exec_driver_sql(statement.format(**words))
        connection.exec_driver_sql(f"INSERT INTO tune_schema (version) VALUES ({number})")
