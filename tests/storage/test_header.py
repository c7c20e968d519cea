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


def test_a_database_is_kept_open_once_however_often_and_from_how_many_threads_it_is_read(path, make_study):
    with Store.open(str(path), mode="create") as store:
        make_study(store)
    threads = [threading.Thread(target=header.has_log, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(descriptors(path)) == 1


def test_deleted_files_are_let_go_of_and_so_are_descriptors_closed_from_outside(path, tmp_path):
    header.create(path)
    (handle,) = descriptors(path)
    path.unlink()
    header.create(tmp_path / "next.db")
    assert header._file(handle) is None
    (closed,) = descriptors(tmp_path / "next.db")
    os.close(closed)
    stranger = os.open(tmp_path, os.O_RDONLY)  # takes the number
    try:
        assert not header.has_log(tmp_path / "next.db")
        header.create(tmp_path / "third.db")
        os.fstat(stranger)  # not closed by us
    finally:
        os.close(stranger)


def test_a_file_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError):
        header.has_log(path)
