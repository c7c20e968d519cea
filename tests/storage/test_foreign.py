"""Another program's file is known for what it is, and left as it was to the last byte."""

import os
import sqlite3
import stat

import optuna
import pytest
from loratune.errors import StorageError, StudyExists, StudyNotFound
from loratune.storage import foreign
from loratune.storage.store import Store


@pytest.fixture
def places(path):
    """A browser's file."""
    with sqlite3.connect(path) as connection:
        for name in ("moz_places", "moz_bookmarks", "moz_hosts", "moz_annos"):
            connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT)")
        connection.execute("INSERT INTO moz_places (url) VALUES ('mine')")
    connection.close()
    return path


@pytest.fixture
def optuna_file(path):
    """A file of Optuna's with a study of the user's."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    optuna.create_study(storage=storage, study_name="theirs").add_trial(optuna.create_trial(value=1.0))
    storage.remove_session()
    storage.engine.dispose()
    return path


def everything(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("tables", "owner"),
    [
        ([], "nobody"),
        (["tune_schema"], "ours"),
        (["moz_places", "tune_schema"], "ours"),  # by a version that did not look
        (["studies", "trials", "version_info", "alembic_version"], "optuna"),
        (["experiments", "runs", "alembic_version"], "another"),  # MLflow's
        (["studies", "trials"], "another"),
        (["x"], "another"),
    ],
)
def test_a_file_is_its_who_made_its_tables(tables, owner):
    assert foreign.whose(tables) == owner


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_another_programs_file_is_refused_and_keeps_every_byte(places, mode):
    before = everything(places.parent)
    with pytest.raises(StorageError) as caught:
        Store.open(str(places), mode=mode)
    assert everything(places.parent) == before
    assert "\n" not in str(caught.value)
    if mode == "create":
        assert str(caught.value) == (
            f"{places}: is another program's database (it holds moz_annos, moz_bookmarks, moz_hosts, …); "
            "name another file with --storage"
        )
    else:
        assert isinstance(caught.value, StudyNotFound)


@pytest.mark.parametrize("mode", ["write", "read"])
def test_optunas_file_is_not_changed_before_a_study_is_made_in_it(optuna_file, mode):
    before = everything(optuna_file.parent)
    with pytest.raises(StudyNotFound, match="holds no study of loratune"):
        Store.open(str(optuna_file), mode=mode)
    assert everything(optuna_file.parent) == before


def test_optunas_file_takes_our_studies_beside_the_users(optuna_file, make_study):
    with Store.open(str(optuna_file), mode="create") as store:
        with pytest.raises(
            StudyExists, match=r"'theirs': Optuna's tables in .* choose another name"
        ) as caught:
            make_study(store, "theirs")
        assert "tune resume" not in str(caught.value)  # which would find nothing
        study = make_study(store)
        assert store.project(study.id, {}, {}) == "first"
    found = foreign.look(optuna_file)
    assert (found.whose, found.optuna_studies) == ("ours", {"theirs", "first"})


def test_an_empty_file_and_a_database_without_a_table_are_taken(tmp_path, make_study):
    (tmp_path / "empty.db").touch()
    with sqlite3.connect(tmp_path / "bare.db") as connection:
        connection.execute("CREATE TABLE gone (x)")
        connection.execute("DROP TABLE gone")
    connection.close()
    for name in ("empty.db", "bare.db"):
        foreign.check_writable(tmp_path / name)
        with Store.open(str(tmp_path / name), mode="create") as store:
            make_study(store)


@pytest.mark.parametrize("version", [0, 2**31 - 1])
def test_to_see_whether_a_file_can_be_written_leaves_it_as_it_is(places, version):
    with sqlite3.connect(places) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = everything(places.parent)
    foreign.check_writable(places)
    assert everything(places.parent) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("ours", [False, True])
def test_a_file_that_cannot_be_written_is_told(open_folder, make_study, what, ours):
    path = open_folder / "some.db"
    if ours:
        with Store.open(str(path), mode="create") as store:
            make_study(store)
    else:
        path.touch()
    path.chmod(0o644 if what == "folder" else 0o444)
    if what == "folder":
        os.chown(path, 65534, 65534)
    open_folder.chmod(0o755 if what == "folder" else 0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match=r"read-only|no permission|cannot be opened") as caught:
            foreign.check_writable(path)
    finally:
        os.seteuid(0)
    assert "\n" not in str(caught.value)
    assert stat.S_ISREG(path.stat().st_mode)
