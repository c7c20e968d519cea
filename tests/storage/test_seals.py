"""A row of the record whose bytes are not those that were written is refused, whichever they are."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from loratune.errors import StorageError
from loratune.storage import tables
from loratune.storage.check import findings
from loratune.storage.store import Store
from loratune.study.records import Ending, StudyRecord

SEALED = [tables.studies, tables.trials, tables.curve, tables.evaluations, tables.events]
CELLS = [
    (table.name, column.name)
    for table in SEALED
    for column in table.columns
    # Of another study or number it is another row, and who asks for this one finds none.
    if not column.primary_key and column.name not in ("touched_at", "study_id", "seal")
]
NULLS = {"reason": "'why'", "adapter": "'adapters/a'", "finished_at": "'2026-03-01T12:00:00+00:00'"}


@pytest.fixture
def study(path: Path, make_study: Callable, params, round_update: Callable) -> StudyRecord:
    """A study with a running and an ended trial; its file is at ``path``."""
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.acquire(study.id)
        for number in range(2):
            store.add_trial(study.id, number=number, params=params, seed=7, source="tpe")
            store.record_round(study.id, [round_update(number, 1)])
        ending = Ending(trial=1, state="pruned", reason="slow", value=None, adapter=None)
        store.record_round(study.id, [], [ending])
        store.add_event(study.id, "worker", reason="died")
    return study


def run(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        assert connection.execute(statement).rowcount > 0
        connection.commit()


def read_all(store: Store, study: StudyRecord) -> tuple[object, ...]:
    return (
        store.study(study.name),
        store.trials(study.id),
        store.curve(study.id),
        {trial: found.losses.tobytes() for trial, found in store.evaluations(study.id, 1).items()},
        store.events(study.id),
    )


@pytest.mark.parametrize(("table", "column"), CELLS)
def test_every_cell_is_under_its_rows_seal(path, study, table, column):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (value,) = connection.execute(f"SELECT {column} FROM {table}").fetchone()
    if value is None:
        other = NULLS.get(column, "2.5")
    elif isinstance(value, bytes):
        other = f"x'{(bytes([value[0] ^ 1]) + value[1:]).hex()}'"
    elif isinstance(value, str):
        # One letter or digit otherwise, and often as good a text as before.
        changed = value.replace("1", "3", 1).replace("first", "fjrst")
        changed = changed if changed != value else value[:-1] + chr(ord(value[-1]) ^ 1)
        other = "'" + changed.replace("'", "''") + "'"
    else:
        other = repr(value + 1)
    run(path, f"UPDATE {table} SET {column} = {other}")
    with Store.open(str(path), mode="read") as store:
        assert findings(store)
        with pytest.raises(StorageError) as caught:
            read_all(store, study)
    assert "\n" not in str(caught.value)
    assert "tune db check" in str(caught.value) or "not in" in str(caught.value)


def test_what_was_written_is_read_again(path, study):
    with Store.open(str(path), mode="write") as store:
        before = read_all(store, study)
        store.acquire(study.id)
        store.begin_attempt(study.id, 0)
        store.set_trials(study.id, 12)
        facts = dataclasses.replace(study.facts, base_losses=(1, 2.5), environment={"ü": "é"})
        store.set_facts(study.id, facts)
        assert store.study(study.name).facts == facts
        store.keep_adapters(study.id, 0)
        assert [trial.attempt for trial in store.trials(study.id)] == [1, 0]
        assert store.study(study.name).trials == 12
        assert read_all(store, study)[2:4] == before[2:4]
        assert findings(store) == ()


@pytest.mark.parametrize(
    ("statement", "write"),
    [
        ("UPDATE tune_trials SET attempt = 8", lambda store, study: store.begin_attempt(study.id, 0)),
        ("UPDATE tune_studies SET seed = 8", lambda store, study: store.set_trials(study.id, 12)),
        (
            "UPDATE tune_trials SET adapter = 'adapters/trial-00001.safetensors' WHERE number = 1",
            lambda store, study: store.keep_adapters(study.id, 0),
        ),
    ],
)
def test_a_damaged_row_is_not_sealed_anew_by_a_change(path, study, statement, write):
    run(path, statement)
    with Store.open(str(path), mode="write") as store:
        store.acquire(study.id)
        with pytest.raises(StorageError, match="damaged"):
            write(store, study)
        with pytest.raises(StorageError, match="damaged"):
            read_all(store, study)


def test_rows_of_before_have_no_seal_and_are_read_as_they_are(path, study):
    with Store.open(str(path), mode="read") as store:
        before = read_all(store, study)
    for table in SEALED:
        run(path, f"UPDATE {table.name} SET seal = NULL")
    with Store.open(str(path), mode="read") as store:
        assert read_all(store, study) == before


def test_a_database_of_before_is_read_without_being_changed_and_sealed_from_then_on(path, study):
    with Store.open(str(path), mode="read") as store:
        before = read_all(store, study)
    for table in SEALED:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            for column in table.columns:
                if tables.since(column) > 1:
                    connection.execute(f"ALTER TABLE {table.name} DROP COLUMN {column.name}")
            connection.commit()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE tune_deleted")
    run(path, "DELETE FROM tune_schema WHERE version > 1")
    content = path.read_bytes()
    with Store.open(str(path), mode="read") as store:
        assert read_all(store, study) == before
        assert (store.deletions.unfinished(), store.deletions.looks("these data")) == ((), 0)
    assert path.read_bytes() == content
    with Store.open(str(path), mode="write") as store:
        assert read_all(store, study) == before
        store.acquire(study.id)
        store.begin_attempt(study.id, 0)
    run(path, "UPDATE tune_trials SET attempt = 8 WHERE number = 0")
    with Store.open(str(path), mode="read") as store, pytest.raises(StorageError, match="trial 0"):
        store.trials(study.id)


def test_a_database_of_before_columns_that_came_later_keeps_its_seals_and_gains_the_columns(path, study):
    with Store.open(str(path), mode="read") as store:
        before = read_all(store, study)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in SEALED:
            for column in table.columns:
                if tables.since(column) > 2:
                    connection.execute(f"ALTER TABLE {table.name} DROP COLUMN {column.name}")
        connection.execute("DROP TABLE tune_deleted")
        connection.execute("DELETE FROM tune_schema WHERE version > 2")
        connection.commit()
    content = path.read_bytes()
    with Store.open(str(path), mode="read") as store:
        assert read_all(store, study) == before
        assert findings(store) == ()
    assert path.read_bytes() == content
    with Store.open(str(path), mode="write") as store:
        assert read_all(store, study) == before
        assert findings(store) == ()
