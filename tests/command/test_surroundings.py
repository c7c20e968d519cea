"""Odd surroundings: streams that are closed or full, folders that are gone, links that lead nowhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from loratune.command.console import table
from loratune.demo import model_path
from rich.console import Console

TUNE = [sys.executable, "-m", "loratune"]

READING = [["list"], ["show"], ["show", "--json"], ["plot", "history"], ["export"], ["--help"], ["--version"]]


def in_shell(line: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell, in which ``$tune`` is the command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNE_")}
    return subprocess.run(
        ["/bin/sh", "-c", line],
        cwd=cwd,
        env={**kept, "tune": f"{sys.executable} -m loratune", **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_full_disk_behind_the_output_is_one_line(finished, words):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    ended = in_shell(f"$tune {' '.join(words)} > /dev/full", finished)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tune: No space left on device") or "could not be printed" in line


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["list", "show --json", "list nope"])
def test_streams_that_are_closed_end_in_no_traceback(finished, words, closed):
    ended = in_shell(f"$tune {words} {closed}", finished)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.returncode == (2 if "nope" in words else 0)


def test_a_database_never_becomes_a_closed_stream(finished):
    before = (finished / "tune.db").read_bytes()
    assert in_shell("$tune list <&- >&- 2>&-", finished).returncode == 0
    assert (finished / "tune.db").read_bytes() == before


@pytest.mark.parametrize("words", ["list", "search --trials=1", "report", "plan"])
def test_a_working_directory_that_is_gone_is_named(tmp_path, words):
    (tmp_path / "gone").mkdir()
    ended = in_shell(f"cd gone && rmdir ../gone && $tune {words}", tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "tune: the working directory is there no more; change to another\n"


@pytest.mark.parametrize("width", ["", "x", "-5", "0", "1", "20", "500"])
@pytest.mark.parametrize("words", ["list", "show", "plot history", "plot curves"])
def test_any_width_of_a_terminal_will_do(finished, words, width):
    ended = in_shell(f"$tune {words}", finished, COLUMNS=width, TERM="")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_a_table_that_no_columns_fit_breaks_no_heading():
    header = ("study", "trials", "best", "owner")
    made = table(
        header, [("demonstration", "6/6", "1.2345", "pid 77 on a"), ("b", "1/1", "–", "–")], width=24
    )
    console = Console(width=24, record=True, file=io.StringIO())
    console.print(made)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[:4] == ["study  demonstration", "trials 6/6", "best   1.2345", "owner  pid 77 on a"]
    assert lines[5] == "study  b"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "--storage=loop.db"], "loop.db"),
        (["search", "--trials=1", "--storage=loop.db"], "Too many levels of symbolic links"),
        (["list", "--storage=~nobodyhere/tune.db"], "is in the home of a user that there is not"),
        (["plan", "--model=~nobodyhere/model", "--data=loop.jsonl"], "is in the home of a user"),
        (["plan", "--model", str(model_path()), "--data=loop.jsonl"], "loop.jsonl"),
        (["plan", "--model", str(model_path()), "--data=pipe.jsonl"], "is a device or a pipe"),
        (["list", "--storage=pipe.jsonl"], "is a device or a pipe"),
        (["plan", "--config=loop.jsonl"], "loop.jsonl: cannot be read"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_links_and_pipes_that_lead_nowhere_are_named(refused, tmp_path, words, says):
    for name in ("loop.db", "loop.jsonl"):
        (tmp_path / name).symlink_to(name)
    os.mkfifo(tmp_path / "pipe.jsonl")
    ended = refused(*words)
    assert says in ended.complaint
    assert "unexpected" not in ended.complaint


def test_control_characters_of_a_name_never_reach_the_terminal(refused, tmp_path):
    red = "\x1b[31mred\x9b1m"
    for words in (["list", f"--storage={red}.db"], ["search", f"--study={red}"], [red]):
        ended = refused(*words)
        assert "\x1b" not in ended.err
        assert "\x9b" not in ended.err
        assert "x1b[31mred" in ended.err
