"""Where a database may be, and how it is opened: rights, durability, and readers that leave no trace."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest
from loratune.errors import StorageError, StudyNotFound
from loratune.storage import engine
from loratune.storage.database_errors import translated
from loratune.storage.store import Store
from made_up_studies import IN_A_CHILD


@pytest.mark.parametrize(
    "given",
    ["tune.db", "sqlite:///tune.db", "./tune.db", "sqlite:///{tmp_path}/tune.db", "{tmp_path}/tune.db"],
)
def test_a_path_and_its_url_are_the_same_file(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    address = engine.parse(given.format(tmp_path=tmp_path))
    assert address.path.resolve() == tmp_path / "tune.db"
    assert address.artifacts.resolve() == tmp_path / "tune-artifacts"


def test_the_home_folder_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert engine.parse("~/tune.db").path == tmp_path / "tune.db"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "must outlive the program"),
        ("sqlite://", "must outlive the program"),
        ("sqlite:///:memory:", "must outlive the program"),
        ("sqlite:///x.db?mode=ro", "leave them out"),
        ("mysql://me:secret@host/x", "'mysql' databases are not supported"),
        ("postgresql+psycopg2://me:secret@host/x", "not supported"),
        ("://me:secret@x", "not a valid database URL"),
        ("postgresql://me:secret@host:port/x", "not a valid database URL"),
        ("x\0y", "is no path"),
    ],
)
def test_an_address_that_cannot_be_is_one_line_without_its_password(given, words):
    with pytest.raises(StorageError, match=words) as caught:
        engine.parse(given)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_is_printed_without_its_password():
    address = engine.parse("postgresql://me:se{cret@127.0.0.1:1/tune")
    assert address.shown == "postgresql+psycopg://me:***@127.0.0.1:1/tune"


def test_a_server_that_is_not_there_is_one_line_without_its_password():
    pytest.importorskip("psycopg")
    with pytest.raises(StorageError, match=r"me:\*\*\*@127.0.0.1:1/tune") as caught:
        Store.open("postgresql://me:se{cret@127.0.0.1:1/tune", mode="write")
    assert "\n" not in str(caught.value)
    assert "cret" not in str(caught.value)


def test_a_server_without_its_driver_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"pip install 'psycopg\[binary\]'"):
        Store.open("postgresql://me@127.0.0.1:1/tune", mode="write")


@pytest.mark.parametrize("mode", ["write", "read"])
def test_a_missing_file_is_not_made(path, mode):
    with pytest.raises(StudyNotFound, match="no such database; tune search makes one"):
        Store.open(str(path), mode=mode)
    assert not path.exists()


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_a_folder_or_a_missing_folder_says_what_to_do(tmp_path, mode):
    with pytest.raises(StorageError, match="is a folder; name a file in it"):
        Store.open(str(tmp_path), mode=mode)
    with pytest.raises(StorageError, match="its folder does not exist"):
        Store.open(str(tmp_path / "no" / "tune.db"), mode=mode)
    with pytest.raises(StorageError, match="too long"):
        Store.open(str(tmp_path / ("x" * 300)), mode=mode)


def test_the_files_are_the_users_alone_whatever_the_umask(path, make_study):
    before = os.umask(0)
    try:
        with Store.open(str(path), mode="create") as store:
            make_study(store)
            rights = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert rights == {
        "tune.db": 0o600,
        "tune.db-wal": 0o600,
        "tune.db-shm": 0o600,
        "tune-artifacts": 0o700,
    }


def test_every_commit_is_synced_and_readers_do_not_wait(path):
    with Store.open(str(path), mode="create") as store, store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_path_with_signs_of_urls_and_formats_works(tmp_path, make_study):
    folder = tmp_path / "a b{0}%41?#ü"
    folder.mkdir()
    with Store.open(str(folder / "t{x}.db"), mode="create") as store:
        study = make_study(store)
        store.project(study.id, {}, {})
    with Store.open(str(folder / "t{x}.db"), mode="read") as store:
        assert store.study(None) == study
    assert sorted(file.name for file in folder.iterdir()) == ["tune-artifacts", "t{x}.db"]
    assert (folder / "t{x}.db").stat().st_size > 0
    assert list(tmp_path.iterdir()) == [folder]


def trace(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if not file.name.endswith("-shm")}


def read(path):
    with Store.open(str(path), mode="read") as store:
        return [study.name for study in store.studies()]


def killed_writer(path):
    """Leave a database whose last study is only in the log, its writer dead."""
    code = (
        IN_A_CHILD + "import os; from loratune.storage.store import Store\n"
        f"store = Store.open({str(path)!r}, mode='create')\n"
        "store.create_study(name='first', trials=1, config=make_config(), facts=make_facts())\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert path.with_name("tune.db-wal").stat().st_size > 0


class TestReaders:
    def test_a_database_at_rest_is_read_without_a_trace(self, path, make_study):
        with Store.open(str(path), mode="create") as store:
            make_study(store)
        before = trace(path.parent)
        names = sorted(file.name for file in path.parent.iterdir())
        assert read(path) == ["first"]
        assert trace(path.parent) == before
        assert sorted(file.name for file in path.parent.iterdir()) == names

    def test_a_live_writer_is_read_without_waiting(self, path, make_study):
        with Store.open(str(path), mode="create") as store:
            make_study(store)
            with store._connections.transaction() as connection:
                connection.exec_driver_sql("UPDATE tune_studies SET trials = 99")
                assert read(path) == ["first"]
                with Store.open(str(path), mode="read") as reader:
                    assert reader.study("first").trials == 10

    def test_a_writer_that_was_killed_is_read_with_all_it_committed(self, path):
        killed_writer(path)
        before = {file.name: file.read_bytes() for file in path.parent.glob("tune.db*")}
        assert len(before) == 3
        assert read(path) == ["first"]
        assert {file.name: file.read_bytes() for file in path.parent.glob("tune.db*")} == before

    def test_a_copy_of_the_file_and_its_log_alone_is_read(self, path, tmp_path):
        killed_writer(path)
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("tune.db", "tune.db-wal"):
            shutil.copy(path.with_name(name), copy / name)
        assert read(copy / "tune.db") == ["first"]

    def test_one_reader_sees_writers_come_and_go(self, path, make_study):
        with Store.open(str(path), mode="create") as store:
            make_study(store)
        with Store.open(str(path), mode="read") as reader:
            for name in ("second", "third"):
                with Store.open(str(path), mode="write") as store:
                    make_study(store, name)
                    assert reader.study(name).name == name
                assert reader.study(name).name == name
            assert len(reader.studies()) == 3

    def test_a_writer_that_leaves_while_a_reader_opens_is_no_matter(self, path, make_study, monkeypatch):
        store = Store.open(str(path), mode="create")
        make_study(store)
        real = engine.connect

        def connect(*arguments):
            store.close()  # after the reader saw that a writer lives
            return real(*arguments)

        monkeypatch.setattr(engine, "connect", connect)
        assert read(path) == ["first"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
    @pytest.mark.parametrize("killed", [False, True])
    def test_a_read_only_folder_is_read(self, open_folder, killed, make_study):
        path = open_folder / "tune.db"
        if killed:
            killed_writer(path)
        else:
            with Store.open(str(path), mode="create") as store:
                make_study(store)
        for file in open_folder.glob("tune.db*"):
            file.chmod(0o444)
        open_folder.chmod(0o555)
        names = sorted(file.name for file in open_folder.iterdir())
        os.seteuid(65534)
        try:
            assert read(path) == ["first"]
            with pytest.raises(StorageError, match=r"read-only|no permission|cannot be opened") as caught:
                Store.open(str(path), mode="write")
        finally:
            os.seteuid(0)
        assert "\n" not in str(caught.value)
        assert sorted(file.name for file in open_folder.iterdir()) == names

    @pytest.mark.parametrize("mode", ["write", "read"])
    def test_a_database_of_another_program_is_left_as_it_is(self, path, mode):
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
        connection.close()
        with pytest.raises(StudyNotFound, match="holds no study of loratune"):
            Store.open(str(path), mode=mode)
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
        connection.close()


class Refusing:
    """A connection while the log of a killed writer is taken over, or an index in memory comes to no end."""

    def execute(self, _query):
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorname = "SQLITE_PROTOCOL"
        raise error

    def close(self):
        pass


def test_a_log_that_another_process_takes_over_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "tune.db"
    Store.open(str(path), mode="create").close()
    connect, refusals = engine.connect, iter(range(8))

    def refused_at_first(*given):
        return connect(*given) if next(refusals, None) is None else Refusing()

    monkeypatch.setattr(engine, "connect", refused_at_first)
    with contextlib.closing(engine.connect_to_read(path, 30.0)) as connection:
        assert connection.execute("SELECT count(*) FROM tune_studies").fetchone() == (0,)
    monkeypatch.setattr(engine, "connect", lambda *_: Refusing())
    with pytest.raises(StorageError, match="held by another program for too long"), translated("x.db"):
        engine.connect_to_read(path, 0.05)


def test_a_log_that_cannot_be_read_alone_is_read_as_any_reader_does(tmp_path, monkeypatch):
    path = tmp_path / "tune.db"
    Store.open(str(path), mode="create").close()
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).touch()  # as a killed writer leaves them
    connect, tried = engine.connect, []

    def alone_refused(path, options, timeout):
        tried.append(options)
        return Refusing() if "readonly_shm" in options else connect(path, options, timeout)

    monkeypatch.setattr(engine, "connect", alone_refused)
    with contextlib.closing(engine.connect_to_read(path, 30.0)) as connection:
        assert connection.execute("SELECT count(*) FROM tune_studies").fetchone() == (0,)
    assert tried == ["mode=ro&readonly_shm=1", "mode=ro"]
