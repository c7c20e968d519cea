"""The schema grows by numbered steps, once each, and a newer one is refused."""

import sqlite3

import pytest
import sqlalchemy
from loratune.errors import StorageError
from loratune.storage import migrations, tables
from loratune.storage.store import Store


def test_the_tables_in_the_file_are_those_that_the_program_speaks_of(store):
    inspector = sqlalchemy.inspect(store._connections.engine)
    names = {name for name in inspector.get_table_names() if name.startswith("tune_")}
    assert names == set(tables.metadata.tables)
    for name, table in tables.metadata.tables.items():
        found = {column["name"]: column["nullable"] for column in inspector.get_columns(name)}
        assert found == {column.name: column.nullable for column in table.columns}
        keys = inspector.get_pk_constraint(name)["constrained_columns"]
        assert keys == [column.name for column in table.primary_key]


def test_a_fresh_database_is_of_the_latest_version(store):
    with store.reading() as connection:
        assert migrations.version(connection) == migrations.LATEST


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_a_newer_database_is_refused_in_one_line_and_left_alone(path, mode):
    Store.open(str(path), mode="create").close()
    newer = migrations.LATEST + 1
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO tune_schema VALUES (?)", (newer,))
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match=f"newer loratune.*schema {newer}.*upgrade loratune") as caught:
        Store.open(str(path), mode=mode)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_an_older_database_is_brought_up_to_date_with_its_rows(path, make_study, monkeypatch):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
    step = ("ALTER TABLE tune_studies ADD COLUMN note TEXT", "CREATE TABLE tune_more (id INTEGER)")
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, step))
    latest = migrations.LATEST + 1
    monkeypatch.setattr(migrations, "LATEST", latest)
    monkeypatch.setattr(migrations, "READABLE", latest)
    with pytest.raises(StorageError, match="older loratune; tune resume brings it up to date"):
        Store.open(str(path), mode="read")
    for _ in range(2):
        with Store.open(str(path), mode="write") as store:
            assert store.study(None) == study
            with store.reading() as connection:
                assert migrations.version(connection) == latest
                assert sqlalchemy.inspect(connection).has_table("tune_more")


def test_a_migration_that_fails_leaves_nothing_behind(path, make_study, monkeypatch):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
    step = ("CREATE TABLE tune_more (id INTEGER)", "INSERT INTO no_such_table VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, step))
        patch.setattr(migrations, "LATEST", migrations.LATEST + 1)
        with pytest.raises(StorageError, match="a table cannot be read"):
            Store.open(str(path), mode="write")
    with Store.open(str(path), mode="write") as store, store.reading() as connection:
        assert migrations.version(connection) == migrations.LATEST
        assert not sqlalchemy.inspect(connection).has_table("tune_more")
        assert store.study(None) == study
