"""The database is one file: its log is folded into it, and a copy can be taken at any moment."""

import errno
import os
import shutil
import sqlite3
import stat
import threading

import pytest
from loratune.errors import StorageError
from loratune.storage import progress_note
from loratune.storage.store import Store
from loratune.storage.upkeep import fold, log_of
from loratune.study.records import Ending
from made_up_studies import progress_of


@pytest.fixture
def owned(path, make_study):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.acquire(study.id)
        yield store, study


def write(store, study, params, count=5):
    first = len(store.trials(study.id))
    for number in range(first, first + count):
        store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")


def alone(path, to):
    """Return the trials in a copy of the file alone, as it is after a kill."""
    to.mkdir()
    shutil.copy(path, to / "tune.db")
    with Store.open(str(to / "tune.db"), mode="read") as copy:
        return copy.trials(1)


def test_after_folding_the_file_alone_holds_everything(path, owned, params, tmp_path):
    store, study = owned
    store.fold_log()
    write(store, study, params)
    assert len(alone(path, tmp_path / "before")) == 0  # else the next assertion would prove nothing
    assert store.fold_log()
    assert log_of(path).stat().st_size == 0
    assert alone(path, tmp_path / "after") == store.trials(study.id)


def test_folding_a_file_that_is_no_database_any_more_raises_nothing(tmp_path):
    path = tmp_path / "tune.db"
    path.write_bytes(b"no database" * 1000)
    log_of(path).write_bytes(b"a log")
    assert not fold(path)


def test_a_reader_in_the_middle_only_puts_it_off(path, owned, params, tmp_path):
    store, study = owned
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tune_trials").fetchone()
    write(store, study, params)
    assert not store.fold_log()
    write(store, study, params)  # and the search goes on
    assert not store.fold_log()
    reader.execute("COMMIT")
    reader.close()
    assert store.fold_log()
    assert len(alone(path, tmp_path / "after")) == 10


def test_a_writer_in_the_middle_only_puts_it_off(path, owned, params):
    store, study = owned
    write(store, study, params)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    store.fold_log()
    writer.execute("ROLLBACK")
    writer.close()
    assert store.fold_log()


def test_a_server_and_a_reader_have_no_log_to_fold(address, store):
    with Store.open(address, mode="read") as reader:
        assert reader.fold_log()


def test_a_backup_holds_all_in_one_private_file_while_a_search_writes(path, owned, params, tmp_path):
    store, study = owned
    write(store, study, params)
    done = threading.Event()

    def go_on():
        while not done.is_set():
            store.add_event(study.id, "more")

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        for number in range(5):
            with Store.open(str(path), mode="read") as reader:
                reader.backup(tmp_path / f"copy-{number}.db")
    finally:
        done.set()
        writer.join()
    for number in range(5):
        copy = tmp_path / f"copy-{number}.db"
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with Store.open(str(copy), mode="read") as opened:
            assert opened.trials(study.id) == store.trials(study.id)
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith((".", "copy"))) == [
        f"copy-{number}.db" for number in range(5)
    ]


def test_a_backup_never_replaces_a_file(path, owned, tmp_path):
    store, _ = owned
    taken = tmp_path / "taken.db"
    taken.write_text("mine")
    with pytest.raises(StorageError, match=r"taken\.db: is there already"):
        store.backup(taken)
    assert taken.read_text() == "mine"
    with pytest.raises(StorageError, match="its folder does not exist"):
        store.backup(tmp_path / "nowhere" / "copy.db")


def test_a_database_older_than_its_files_is_not_gone_on_with(path, owned, params, round_update, tmp_path):
    store, study = owned
    write(store, study, params)
    store.release(study.id)
    store.fold_log()
    shutil.copy(path, tmp_path / "old.db")
    store.acquire(study.id)
    for number in range(5):
        store.record_round(study.id, [round_update(number, 1)])
    store.record_round(
        study.id, [], [Ending(trial=0, state="pruned", reason="why", value=None, adapter=None)]
    )
    store.close()
    with Store.open(str(path), mode="write") as again:  # as it should be
        again.acquire(study.id)
    shutil.copy(tmp_path / "old.db", path)
    with Store.open(str(path), mode="write") as again:
        words = "holds 5 trials, 0 ended, 0 rounds, but 5 trials, 1 ended, 5 rounds were recorded"
        with pytest.raises(StorageError, match=words) as caught:
            again.acquire(study.id)
        assert "tune.db-wal is missing" in str(caught.value)
        assert "\n" not in str(caught.value)
        (again.study_dir(study.id) / "progress.json").unlink()  # as the line says
        again.acquire(study.id)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"trials": 1}', '{"trials": "x", "quanta": 1, "ended": 1}']
)
def test_a_torn_note_of_how_far_a_study_was_hinders_nobody(owned, params, round_update, content):
    store, study = owned
    write(store, study, params)
    store.release(study.id)
    (store.study_dir(study.id) / "progress.json").write_text(content)
    assert progress_note.read(store.study_dir(study.id)) is None
    store.acquire(study.id)
    store.record_round(study.id, [round_update(0, 1)])
    assert progress_note.read(store.study_dir(study.id)) == progress_of(store.trials(study.id))


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_backup_onto_a_disk_without_links_is_as_whole_and_replaces_as_little(
    owned, params, tmp_path, monkeypatch, error
):
    store, study = owned
    write(store, study, params)
    meanwhile = []

    def link(source, target):
        for file in meanwhile:
            file.write_text("mine")
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "link", link)
    folder = tmp_path / "disk"
    folder.mkdir()
    store.backup(folder / "copy.db")
    assert stat.S_IMODE((folder / "copy.db").stat().st_mode) == 0o600
    with Store.open(str(folder / "copy.db"), mode="read") as copy:
        assert copy.trials(study.id) == store.trials(study.id)
    meanwhile.append(folder / "quicker.db")
    with pytest.raises(StorageError, match=r"quicker\.db: File exists"):
        store.backup(folder / "quicker.db")
    assert (folder / "quicker.db").read_text() == "mine"
    assert sorted(file.name for file in folder.iterdir()) == ["copy.db", "quicker.db"]


def test_a_backup_that_cannot_be_named_leaves_nothing(owned, tmp_path, monkeypatch):
    store, _ = owned
    folder = tmp_path / "disk"
    folder.mkdir()

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(StorageError, match="Operation not permitted"):
        store.backup(folder / "copy.db")
    assert list(folder.iterdir()) == []
