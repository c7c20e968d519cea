"""Errors that nobody foresaw, raised on purpose inside commands: one line, and a file with the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loratune.command.failure import hide_secrets

STRUCK = """
import runpy, sys
from importlib import import_module

def struck(*_, **__):
    {raising}

module, _, name = {where!r}.partition(":")
owner = import_module("loratune." + module)
*path, last = name.split(".")
for part in path:
    owner = getattr(owner, part)
setattr(owner, last, struck)
sys.argv = ["tune", *{words!r}]
runpy.run_module("loratune", run_name="__main__")
"""

ALCHEMY = "import sqlalchemy.exc; raise sqlalchemy.exc.InvalidRequestError('no such row')"
DEEP = "def deep(n): return deep(n + 1)\n    deep(0)"


def strike(where: str, raising: str, *words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TUNE_")}
    return subprocess.run(
        [sys.executable, "-c", STRUCK.format(where=where, raising=raising, words=words)],
        cwd=cwd,
        env={**kept, "TMPDIR": str(cwd), **more},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study."""
    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    return folder


@pytest.mark.parametrize(
    ("where", "raising", "words", "says"),
    [
        (
            "storage.store:Store.study_ids",
            "raise ValueError('two\\nlines')",
            ["list"],
            "ValueError: two lines",
        ),
        ("storage.store:Store.trials", ALCHEMY, ["list"], "InvalidRequestError: no such row"),
        ("reports.verdict:verdict", DEEP, ["show"], "RecursionError: maximum recursion depth"),
        ("reports.page:render", "raise UnicodeError('\\udce9')", ["report"], "UnicodeError: \\xe9"),
        ("reports.plots.text:plot_text", "raise KeyError('x')", ["plot", "history"], "KeyError: 'x'"),
        ("integrations.plain:export_yaml", "raise OSError('odd')", ["export"], "OSError: odd"),
        ("app.searching:run_study", "raise AssertionError", ["resume"], "AssertionError;"),
        ("app.request:make_request", "raise ExceptionGroup('g', [ValueError()])", ["plan"], "Group: g"),
        (
            "app.request:make_request",
            "raise TypeError('\\x1b[31mred')",
            ["search"],
            "TypeError: \\x1b[31mred",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_error_that_nobody_foresaw_is_one_line_and_a_file(study, where, raising, words, says):
    done = strike(where, raising, *words, cwd=study)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tune: unexpected ")
    assert says in line
    assert "please report it" in line
    named = re.search(r"(/\S+\.log) has the details, and --debug shows them", line)
    assert named is not None, line
    log = Path(named[1])
    assert log.parent == study / "tune-artifacts" / "logs"
    assert log.stat().st_mode & 0o777 == 0o600
    written = log.read_text(encoding="utf-8")
    assert "Traceback" in written
    assert "in struck" in written
    assert re.search(r"^loratune \d", written)
    assert "Python 3." in written
    assert f"'{words[0]}'" in written


def test_memory_that_runs_out_is_no_fault_to_be_reported(study):
    done = strike("reports.page:render", "raise MemoryError", "report", cwd=study)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "not enough memory; free some" in line
    assert "report it" not in line


@pytest.mark.parametrize("words", [["--debug", "list"], ["list", "--debug"]], ids=" ".join)
def test_debug_shows_an_error_whole(study, words):
    done = strike("storage.store:Store.study_ids", "raise ValueError('odd')", *words, cwd=study)
    assert done.returncode == 1
    first, *_, last = done.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "in struck" in done.stderr
    assert last.startswith("tune: unexpected ValueError: odd")


def test_the_environment_can_ask_for_errors_that_are_whole(study):
    done = strike(
        "storage.store:Store.study_ids", "raise ValueError('odd')", "list", cwd=study, TUNE_DEBUG="1"
    )
    assert "in struck" in done.stderr


def test_debug_shows_where_a_foreseen_error_came_from(refused):
    ended = refused("list", "--debug")
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-1].endswith("or name another with --storage")


def test_without_artifacts_the_file_lies_in_the_folder_for_temporary_ones(tmp_path):
    done = strike("app.request:make_request", "raise ValueError('odd')", "search", cwd=tmp_path)
    (log,) = tmp_path.iterdir()
    assert str(log) in done.stderr
    assert log.name.startswith("loratune-error-")
    assert log.stat().st_mode & 0o777 == 0o600


def test_no_password_reaches_the_screen_or_the_file(tmp_path):
    address = "postgresql://me:s3cret@localhost/studies"
    done = strike(
        "storage.store:Store.open",
        "raise ValueError('cannot reach postgresql://me:s3cret@localhost password=s3cret')",
        "list",
        "--storage",
        address,
        "--debug",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    (log,) = tmp_path.iterdir()
    assert "me:***@localhost/studies" in log.read_text()
    assert "s3cret" not in log.read_text() + done.stderr + done.stdout


@pytest.mark.parametrize("password", ["s3cret", "p@ss@word", "it's", "a:b", 'quo"ted'])
def test_passwords_are_hidden_whatever_they_hold(password):
    called = repr(f"postgresql://me:{password}@host/db")
    assert (
        hide_secrets(f"called: {called} 'a@b'")
        == f"called: {called[0]}postgresql://me:***@host/db{called[0]} 'a@b'"
    )


def test_tokens_of_the_hub_are_hidden():
    assert hide_secrets("--revision hf_abcdefghij") == "--revision hf_***"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("reports.load:load_view", ["show"]),
        ("app.request:make_request", ["search"]),
        ("cli:tune.main", ["list"]),
        ("command.exit_codes:write_plainly", ["list"]),
    ],
)
def test_ctrl_c_in_odd_places_is_one_line(study, where, words):
    done = strike(where, "raise KeyboardInterrupt", *words, cwd=study)
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (130, "", ["tune: interrupted"])


def test_an_error_in_a_thread_is_one_line_too(study):
    raising = """
    import threading, traceback
    def fail(): raise ValueError('in a thread')
    thread = threading.Thread(target=fail); thread.start(); thread.join()
    return ()"""
    done = strike("storage.store:Store.study_ids", raising, "list", cwd=study)
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("tune: unexpected ValueError: in a thread")


def test_a_worker_that_fails_unexpectedly_is_one_line_with_its_log(tmp_path):
    code = """
import runpy, sys
import loratune.objectives.workers.process as process
process.ProcessWorker.__init__.__kwdefaults__["session"] = "json:loads"
sys.argv = ["tune", "plan"]
runpy.run_module("loratune", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tune: worker 0: TypeError: ")
    assert Path(line.rpartition("see ")[2]).read_text().count("Traceback") == 1


def test_a_library_that_is_missing_is_one_line(tmp_path):
    code = """
import runpy, sys
sys.modules["rich.console"] = None
sys.argv = ["tune", "list"]
runpy.run_module("loratune", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tune: cannot start: ")
    assert "rich.console" in line
