"""A look at a database's header leaves this process's locks as they are."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from loratune.storage import header, upkeep
from loratune.storage.store import Store


def comes_and_goes(path):
    """Let another program read the file; where it takes itself for the last one, it folds the log away."""
    code = (
        f"import sqlite3; connection = sqlite3.connect({str(path)!r})\n"
        "print([name for (name,) in connection.execute('SELECT name FROM tune_studies ORDER BY id')])\n"
        "connection.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def looks(path, reader):
    """Everything that looks at the database's file while a writer of this process has it open."""
    with Store.open(str(path), mode="read") as other:
        other.studies()
        other.backup(path.with_name("copy.db"))
    reader.studies()
    with Store.open(str(path), mode="write") as other:
        other.fold_log()
        other.database_bytes()
    upkeep.fold(path)
    header.has_log(path)


def test_what_a_writer_commits_stays_after_a_reader_of_the_same_process_looked(path, make_study):
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    with Store.open(str(path), mode="read") as reader, Store.open(str(path), mode="write") as store:
        make_study(store, "second")
        looks(path, reader)
        assert comes_and_goes(path) == "['first', 'second']"
        assert upkeep.log_of(path).exists()  # it knows that a writer lives
        make_study(store, "third")
        assert comes_and_goes(path) == "['first', 'second', 'third']"


def test_a_transaction_without_a_log_keeps_its_lock_too(path):
    ours = sqlite3.connect(path, isolation_level=None)
    ours.execute("CREATE TABLE theirs (x)")
    ours.execute("BEGIN IMMEDIATE")
    assert not header.has_log(path)
    code = (
        f"import sqlite3; connection = sqlite3.connect({str(path)!r}, timeout=0)\n"
        "connection.execute('BEGIN IMMEDIATE')"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "database is locked" in other.stderr
    ours.execute("ROLLBACK")
    ours.close()


def test_the_way_of_writing_is_read_anew_and_of_the_file_that_is_there_now(path, tmp_path):
    other = tmp_path / "other.db"
    for file, mode in ((path, "WAL"), (other, "DELETE")):
        connection = sqlite3.connect(file)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE it (x)")
        connection.close()
    assert header.has_log(path)
    shutil.copy(other, tmp_path / "copy.db")
    (tmp_path / "copy.db").replace(path)
    assert not header.has_log(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert header.has_log(path)
    path.write_bytes(b"")
    assert not header.has_log(path)


def descriptors(path):
    """Return this process's descriptors of a file."""
    found = path.stat()
    return [
        handle
        for handle in (int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        if header._file(handle) == (found.st_dev, found.st_ino)
    ]


def test_a_database_that_nobody_has_open_is_not_held_open_by_a_look(path, make_study):
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    assert header.has_log(path)
    assert descriptors(path) == []


def test_one_descriptor_is_kept_beside_a_connection_and_closed_with_the_store(path, make_study):
    with Store.open(str(path), mode="create") as store:
        make_study(store)
        before = len(descriptors(path))
        threads = [threading.Thread(target=header.has_log, args=(path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(descriptors(path)) <= before + 1
    assert descriptors(path) == []


def test_a_descriptor_of_somebody_elses_keeps_ours_until_it_is_closed(path):
    header.create(path)
    theirs = os.open(path, os.O_RDWR)
    assert not header.has_log(path)
    assert len(descriptors(path)) == 2
    os.close(theirs)
    header.let_go()
    assert descriptors(path) == []


def test_where_descriptors_cannot_be_listed_ours_are_kept(path, monkeypatch):
    header.create(path)
    with monkeypatch.context() as patch:
        patch.setattr(header, "_open_elsewhere", lambda: None)
        for _ in range(3):
            header.has_log(path)
        assert len(descriptors(path)) == 1
    header.let_go()
    assert descriptors(path) == []


def test_a_descriptor_that_was_closed_under_us_is_not_closed_again(path, tmp_path):
    header.create(path)
    theirs = os.open(path, os.O_RDWR)
    header.has_log(path)
    (ours,) = set(descriptors(path)) - {theirs}
    os.close(ours)
    stranger = os.open(tmp_path, os.O_RDONLY)
    assert stranger == ours  # the system gives the number again
    header.let_go()
    assert not header.has_log(path)
    os.fstat(stranger)
    for handle in (stranger, theirs):
        os.close(handle)
    header.let_go()
    assert descriptors(path) == []


def test_a_file_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        header.has_log(path)
