"""The first moments of the command, before it can have caught anything, and what it prints into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STRUCK = """
import runpy, sys

class Striking:
    def find_spec(self, name, path=None, target=None):
        if name == {library!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Striking())
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""


@pytest.mark.parametrize("library", ["click", "sqlalchemy", "optuna"])
def test_ctrl_c_while_libraries_are_loaded_is_one_line(tmp_path, library):
    done = subprocess.run(
        [sys.executable, "-c", STRUCK.format(library=library, words=["search", "--trials=2"])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "tune: interrupted")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "words", "says"),
    [
        ("ascii", ["list"], "done"),
        ("ascii", ["show"], "Trial"),
        ("cp1252", ["show"], "Trial"),
        ("ascii", ["plot", "history"], "base model"),
        ("cp1252", ["plot", "history"], "base model"),
        ("ascii", ["export"], "learning_rate:"),
        ("ascii", ["show", "--trial=99"], "no trial 99"),
    ],
)
def test_a_terminal_that_has_no_letter_for_a_dash_still_gets_the_numbers(
    finished: Path, encoding, words, says
):
    done = subprocess.run(
        [sys.executable, "-m", "loratune", *words],
        cwd=finished,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100"},
        capture_output=True,
        timeout=240,
        check=False,
    )
    said = (done.stdout + done.stderr).decode("utf-8", errors="replace")
    assert "Traceback" not in said
    assert done.returncode == (1 if "--trial=99" in words else 0), said
    assert says in said
    assert "?" not in said


@pytest.mark.parametrize("words", [["list"], ["show"], ["show", "--json"], ["plot", "history"], ["export"]])
def test_a_reader_that_has_gone_is_no_error(finished: Path, words):
    asked = subprocess.Popen(
        [sys.executable, "-m", "loratune", *words],
        cwd=finished,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert asked.stdout is not None
    asked.stdout.close()
    _, said = asked.communicate(timeout=240)
    assert (asked.returncode, said) == (0, b"")


def test_a_search_goes_on_when_nobody_reads_what_it_says(tmp_path, tune, small):
    search = subprocess.Popen(
        [sys.executable, "-m", "loratune", "search", "--trials=4", *small],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert search.stdout is not None
    assert search.stdout.readline().startswith(b"model")
    search.stdout.close()
    assert search.wait(240) == 0
    (row,) = tune("list", "--json").json
    assert row["ended"] == 4
    log = (tmp_path / "tune-artifacts" / "logs" / "search.log").read_text(encoding="utf-8")
    assert sum(" trial " in line for line in log.splitlines()) == 4
    assert "complete after" in log
