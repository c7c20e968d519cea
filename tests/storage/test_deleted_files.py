"""The folder of a deleted study goes only where no other database can mean it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3

import pytest
from loratune.storage import deleted_files, engine
from loratune.storage.check import findings
from loratune.storage.store import Store


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(deleted_files, "PATIENCE", 0.05)


@pytest.fixture
def make_database(make_study, round_update, params):
    """Make a database at a path, with one study that has files of 1000 bytes and more."""

    def made(path, name="first"):
        path.parent.mkdir(exist_ok=True)
        with Store.open(str(path), mode="create") as store:
            study = make_study(store, name)
            store.acquire(study.id)
            store.add_trial(study.id, number=0, params=params, seed=7, source="tpe")
            store.record_round(study.id, [round_update(0, 1)])
            (store.study_dir(study.id) / "state").write_bytes(b"x" * 1000)
        return path

    return made


@pytest.fixture
def backed_up(path, make_database):
    """A database, and a backup of it beside it."""
    make_database(path)
    copy = path.with_name("copy.db")
    with Store.open(str(path), mode="read") as store:
        store.backup(copy)
    return path, copy


def delete(path, name="first"):
    """Delete a study and its files; return what became of these."""
    with Store.open(str(path), mode="write") as store:
        (gone,) = store.deletions.delete([name])
        return store.deletions.delete_files(gone)


def unfinished(path):
    with Store.open(str(path), mode="read") as store:
        return [study.name for study in store.deletions.unfinished()]


def files(path):
    return [entry.name for entry in (path.parent / engine.ARTIFACTS / "1").iterdir()]


@pytest.fixture
def strangers(tmp_path, make_database):
    """A database, and beside it a backup of one from another folder: both have a study of number 1."""
    theirs = make_database(tmp_path / "B" / "theirs.db", "theirsB")
    with Store.open(str(make_database(tmp_path / "A" / "tune.db", "mineA")), mode="read") as store:
        store.backup(theirs.with_name("fromA.db"))
    return theirs, theirs.with_name("fromA.db")


def test_files_of_another_study_of_the_same_number_stay(strangers):
    theirs, copy = strangers
    freed = delete(copy, "mineA")
    assert freed.bytes == 0
    assert f"{theirs}, which shares their folder, has a study of the same number, 1" in freed.kept
    assert "state" in files(theirs)
    with Store.open(str(theirs), mode="read") as store:
        assert findings(store) == ()


def test_a_deletion_that_is_finished_later_leaves_them_too(strangers):
    theirs, copy = strangers
    with Store.open(str(copy), mode="write") as store:
        store.deletions.delete(["mineA"])
    with Store.open(str(copy), mode="write") as store:
        (left,) = store.deletions.unfinished()
        assert store.deletions.delete_files(left).kept
    assert "state" in files(theirs)
    assert unfinished(copy) == []


def test_files_of_a_servers_study_stay_where_a_database_beside_them_has_the_number(
    strangers, tmp_path, monkeypatch
):
    """Equal progress does not tell two studies apart."""
    theirs, copy = strangers
    server = tmp_path / "elsewhere" / "server.db"
    server.parent.mkdir()
    shutil.copyfile(copy, server)
    monkeypatch.chdir(theirs.parent)
    with Store.open(str(server), mode="write") as store:
        (gone,) = store.deletions.delete(["mineA"])
        address = engine.Address(url=store._connections.address.url, path=None)
        monkeypatch.setattr(store._connections, "address", address)
        copy.unlink()
        assert str(theirs) in store.deletions.delete_files(gone).kept
        assert "state" in files(theirs)
        theirs.unlink()
        assert store.deletions.delete_files(gone).bytes > 1000


def test_files_stay_while_a_database_beside_is_held_and_go_with_the_next_deletion(backed_up):
    path, copy = backed_up
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        freed = delete(path)
    assert freed.bytes == 0
    assert f"{copy} may have a study of that number, and cannot be read: locked by" in freed.kept
    assert "the next deletion tries again" in freed.kept
    assert "state" in files(copy)
    copy.unlink()
    with Store.open(str(path), mode="write") as store:
        (left,) = store.deletions.unfinished()
        assert store.deletions.delete_files(left).bytes > 1000
    assert unfinished(path) == []


def damaged(path):
    content = bytearray(path.read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    path.write_bytes(content)


def headless(path):
    content = bytearray(path.read_bytes())
    content[16:100] = b"\xa5" * 84
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:5000])


def without_its_studies(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE tune_studies")


@pytest.mark.parametrize("harm", [damaged, headless, cut, without_its_studies])
def test_files_stay_where_a_database_beside_is_damaged(backed_up, harm):
    path, copy = backed_up
    harm(copy)
    assert "cannot be read" in delete(path).kept
    assert "state" in files(path)


def test_files_stay_where_a_file_beside_may_not_be_read(backed_up, monkeypatch):
    path, copy = backed_up

    def refuse(one, timeout):
        if one == copy:
            raise sqlite3.OperationalError("disk I/O error")
        return connect(one, timeout)

    connect = engine.connect_to_read
    monkeypatch.setattr(engine, "connect_to_read", refuse)
    assert "disk I/O error" in delete(path).kept
    assert "state" in files(path)


def test_other_files_beside_keep_nothing(path, make_database):
    make_database(path)
    with contextlib.closing(sqlite3.connect(path.with_name("other.db"))) as connection:
        connection.execute("CREATE TABLE notes (note TEXT)")
    path.with_name("empty.db").touch()
    path.with_name("data.jsonl").write_text('{"a": 1}\n' * 1000)
    path.with_name("short").write_bytes(b"x")
    path.with_name("SQLite").write_text("SQLite format 3, a text about it\n" * 100)
    path.with_name("nowhere.db").symlink_to("is not there")
    path.with_name("round").symlink_to("round")
    path.with_name("same.db").symlink_to(path)
    os.mkfifo(path.with_name("pipe"))
    with Store.open(str(path), mode="write") as store:
        assert not store.deletions.shares_its_folder()
    assert delete(path).bytes > 1000


def test_no_file_that_this_process_holds_locks_on_is_opened_besides(path, make_database, monkeypatch):
    """Closing it would drop them: another process would take the writer for dead."""
    make_database(path)
    path.with_name("same.db").symlink_to(path)
    seen, connect = [], engine.connect_to_read
    with Store.open(str(path), mode="write") as store:
        monkeypatch.setattr(engine, "connect_to_read", lambda *a: seen.append(a[0].name) or connect(*a))
        (gone,) = store.deletions.delete(["first"])
        assert path.with_name("tune.db-shm").exists()
        assert store.deletions.delete_files(gone).bytes > 1000
    assert seen == []


def test_a_database_beside_where_the_folder_really_is_counts(tmp_path, path, make_database):
    theirs = make_database(tmp_path / "B" / "theirs.db")
    with Store.open(str(theirs), mode="read") as store:
        store.backup(path)
    path.with_name(engine.ARTIFACTS).symlink_to(theirs.parent / engine.ARTIFACTS)
    assert str(theirs) in delete(path).kept
    assert "state" in files(theirs)
