"""Databases that cannot be used: one line that says which and why, and the file stays as it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

IMPATIENT = """
import runpy, sys
from loratune.storage.store import Store
Store.open.__func__.__kwdefaults__["timeout"] = 0.2
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""


@pytest.mark.parametrize("words", [["search", "--trials=2"], ["resume"]], ids=lambda words: words[0])
def test_a_database_that_another_program_holds_is_said_to_be_locked(study, words):
    holder = sqlite3.connect(study / "tune.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        done = subprocess.run(
            [sys.executable, "-c", IMPATIENT.format(words=words)],
            cwd=study,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"tune: {study / 'tune.db'}: locked by another program for too long; close that program and try again"
    ]


@pytest.mark.parametrize(
    "words", [["search", "--trials=2"], ["list"], ["resume"], ["show"]], ids=lambda w: w[0]
)
def test_a_file_that_is_no_database_is_left_as_it_is(refused, tmp_path, words):
    (tmp_path / "tune.db").write_text("a shopping list\n" * 100)
    ended = refused(*words)
    assert ended.code == 1
    assert "tune.db: not a database; name another file with --storage" in ended.complaint
    assert (tmp_path / "tune.db").read_text() == "a shopping list\n" * 100


@pytest.mark.parametrize(
    "words", [["search", "--trials=2"], ["list"], ["resume"], ["report"]], ids=lambda w: w[0]
)
def test_a_database_of_a_newer_version_is_left_as_it_is(refused, study, words):
    with sqlite3.connect(study / "tune.db") as database:
        database.execute("INSERT INTO tune_schema VALUES (99)")
    database.close()
    before = (study / "tune.db").read_bytes()
    ended = refused(*words, cwd=study)
    assert ended.code == 1
    assert "99" in ended.complaint
    assert "newer" in ended.complaint
    assert (study / "tune.db").read_bytes() == before


@pytest.mark.parametrize("words", [["search", "--trials=2"], ["resume"]], ids=lambda words: words[0])
def test_a_read_only_database_is_said_to_be_read_only(study, words):
    """As a user without root's rights, for whom a read-only file is none."""
    folder = study.parent
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    prefix: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write everything, and setpriv is not there")
        prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "loratune", *words],
        cwd=study,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"tune: {study / 'tune.db'}: read-only; make the file and")
    assert len(done.stderr.splitlines()) == 1


def test_a_database_in_a_folder_that_is_not_there_is_refused_before_anything_is_loaded(refused, tmp_path):
    ended = refused("search", "--storage", "tpyo/tune.db")
    assert ended.code == 1
    assert "tpyo/tune.db: its folder does not exist; make it" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_place_of_a_database_is_refused(refused, tmp_path):
    ended = refused("search", "--storage", str(tmp_path))
    assert ended.code == 1
    assert "is a folder" in ended.complaint


def test_a_password_is_never_printed(refused):
    ended = refused("list", "--storage", "postgresql://me:s3cret@localhost:1/x")
    assert ended.code == 1
    assert "s3cret" not in ended.err + ended.out
