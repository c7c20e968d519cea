"""A disk that is full, a file that is not what it should be: one line each, and nothing half done."""

import os
import sqlite3
import subprocess
import sys
import threading

import pytest
from loratune.errors import StorageError
from loratune.storage.store import Store


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def whole(path):
    """Return whether the file is a sound database."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


@pytest.mark.parametrize("mode", ["create", "write", "read"])
@pytest.mark.parametrize(
    "content", [b"just text, longer than a header of a database is\n" * 50, b"\0" * 4096]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path, mode, content):
    path.write_bytes(content)
    with pytest.raises(StorageError, match="not a database; name another file with --storage") as caught:
        Store.open(str(path), mode=mode)
    one_line(caught)
    assert path.read_bytes() == content


def test_a_damaged_database_is_one_line(path, make_study):
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    content = bytearray(path.read_bytes())
    content[100:8192] = os.urandom(8092)
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"damaged|not a database|malformed") as caught:
        Store.open(str(path), mode="write")
    one_line(caught)


HOLD = """
import sqlite3, sys
connection = sqlite3.connect({path!r}, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def held(path, make_study):
    """A database that another process has locked."""
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


def test_a_locked_database_is_one_line_and_opens_once_it_is_free(path, held):
    with pytest.raises(StorageError, match="locked by another program for too long") as caught:
        Store.open(str(path), mode="write", timeout=0.3)
    one_line(caught)
    with Store.open(str(path), mode="read", timeout=0.3) as reader:  # readers never wait
        assert len(reader.studies()) == 1
    held.kill()
    held.wait()
    with Store.open(str(path), mode="write", timeout=0.3) as store:
        store.add_event(1, "x")


def test_a_write_waits_for_its_turn(path, held):
    threading.Timer(0.5, held.kill).start()
    with Store.open(str(path), mode="write", timeout=20) as store:
        store.add_event(1, "x")
        assert [event.kind for event in store.events(1, "x")] == ["x"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user without rights")
def test_a_read_only_file_is_refused_when_it_is_opened_to_write(open_folder, make_study):
    path = open_folder / "tune.db"
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    path.chmod(0o444)
    os.seteuid(65534)
    try:
        for mode in ("write", "create"):
            with pytest.raises(
                StorageError, match=r"read-only; make the file and its folder writable"
            ) as caught:
                Store.open(str(path), mode=mode)
            one_line(caught)
        with pytest.raises(StorageError, match="Permission denied") as caught:
            Store.open(str(open_folder / "new.db"), mode="create")
        one_line(caught)
        with Store.open(str(path), mode="read") as store:
            assert len(store.studies()) == 1
    finally:
        os.seteuid(0)


def fill(store, study, params, round_update):
    """Record trials until something gives way, and return how many were acknowledged."""
    acknowledged = 0
    for number in range(2000):
        store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(number, 1)])
        acknowledged += 1
    return acknowledged


def test_a_full_database_is_one_line_and_goes_on_where_it_was(path, make_study, params, round_update):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.acquire(study.id)
        with store._connections.engine.connect() as connection:  # the pool's one connection
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 5}")
        with pytest.raises(StorageError, match="no space left on disk; free some and tune resume") as caught:
            fill(store, study, params, round_update)
        one_line(caught)
        before = store.trials(study.id), store.curve(study.id)
        assert len(before[0]) > 0
        with store._connections.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (store.trials(study.id), store.curve(study.id)) == before
        store.add_trial(study.id, number=len(before[0]), params=params, seed=0, source="tpe")
    assert whole(path)


def test_a_full_disk_is_one_line_and_goes_on_once_there_is_space(tmp_path, make_study, params, round_update):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        path = disk / "tune.db"
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * 100_000)
        with Store.open(str(path), mode="create") as store:
            study = make_study(store)
            store.acquire(study.id)
            with pytest.raises(StorageError, match="free some") as caught:
                fill(store, study, params, round_update)
            one_line(caught)
            before = store.trials(study.id)
        ballast.unlink()
        with Store.open(str(path), mode="write") as store:
            assert store.trials(study.id) == before
            number = len(before)
            store.acquire(study.id)
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
            assert len(store.trials(study.id)) == number + 1
        assert whole(path)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_deleted_or_replaced_under_a_search_is_told_at_the_next_write(path, make_study, replaced):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        aside = path.with_name("aside.db")
        path.rename(aside)
        if replaced:
            path.touch()
        with pytest.raises(StorageError, match="was deleted or replaced while in use") as caught:
            store.add_event(study.id, "x")
        one_line(caught)
        aside.rename(path)
        store.add_event(study.id, "x")


def test_a_rows_damaged_bytes_are_one_line(path, make_study, params, round_update):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1)])
        with store._connections.transaction() as connection:
            connection.exec_driver_sql("UPDATE tune_evaluations SET losses = x'0102'")
        damage = r"damaged, the losses of trial 0 after round 1 of study 'first' cannot be read"
        with pytest.raises(StorageError, match=damage) as caught:
            store.evaluation(study.id, 0, 1)
        one_line(caught)
