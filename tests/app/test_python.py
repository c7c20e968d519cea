"""The functions that a notebook calls: the documented example runs, and the calling process is left alone."""

import dataclasses
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from fake_processes import Worker
from loratune import app
from loratune.app import preparing, searching, workers
from loratune.app.request import make_config
from loratune.errors import StorageError, UsageError
from loratune.search.interrupt import StopSignal
from loratune.storage.store import Store
from loratune.study.events import StudyEnded, StudyStarted, TrialEnded
from loratune.study.handover import Handover

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)


class Heard:
    def __init__(self):
        self.events = []

    def on_event(self, event):
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with workers that train nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.setattr(workers, "ProcessWorker", Worker)
    return tmp_path


def process():
    """Return what of this process a caller would not want changed."""
    mask = os.umask(0o022)
    os.umask(mask)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    hooks = (sys.excepthook, sys.stdout, sys.stderr, logging.getLogger().level)
    return mask, handlers, dict(os.environ), optuna.logging.get_verbosity(), hooks, Path.cwd()


def test_the_documented_example_runs_as_it_is_written(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[0]],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second, *config = done.stdout.splitlines()
    assert re.fullmatch(r"\d+\.\d\d hours on .+", first)
    assert second.startswith("complete ")
    assert any(line.startswith("  learning_rate: ") for line in config), done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["studies.db", "tune-artifacts"]


def test_the_other_examples_run_too(tmp_path):
    values = {"app": app, "options": app.SearchOptions(trials=2, storage="other.db")}
    values["threading"] = type("threading", (), {"Timer": lambda _, ask: type("T", (), {"start": ask})})
    for block in BLOCKS[1:]:
        exec(block.replace("import threading\n", ""), values)
    with Store.open("other.db", mode="read") as store:
        assert [study.name for study in store.studies()] == ["demo"]


def test_a_study_is_begun_ended_and_gone_on_with_and_nothing_is_printed(capsys):
    before, heard, again = process(), Heard(), Heard()
    done = app.start(app.SearchOptions(trials=3), observers=[heard])
    assert (done.study, done.trials, done.ended.why) == ("demo", 3, "complete")
    assert [event.trials for event in heard.of(StudyStarted)] == [3]
    assert len(heard.of(TrialEnded)) == 3
    assert heard.events[-1] == done.ended
    more = app.resume(trials=5, observers=[again])
    assert (more.study, more.trials, sum(more.ended.counts.values())) == ("demo", 5, 5)
    assert len(again.of(TrialEnded)) == 2
    assert app.export(anyway=True).text
    assert process() == before
    assert capsys.readouterr() == ("", "")


def test_the_same_call_goes_on_with_a_study_of_a_version_before(monkeypatch):
    def of_before(request, base):
        config = make_config(request, base)
        return dataclasses.replace(
            config, objective=dataclasses.replace(config.objective, even_lengths=False)
        )

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "make_config", of_before)
        app.start(app.SearchOptions(trials=2))
    done = app.start(app.SearchOptions(trials=4))
    assert (done.study, sum(done.ended.counts.values())) == ("demo", 4)
    with Store.open("tune.db", mode="read") as store:
        study = store.study("demo")
    assert study.config.objective.even_lengths is study.facts.budget.even_lengths is False


def test_what_an_export_tells_says_by_its_kind_that_it_warns(monkeypatch):
    app.start(app.SearchOptions(trials=1))
    told = []
    monkeypatch.setattr(Handover, "gains_nothing", True)
    app.export(anyway=True, tell=told.append)
    assert [(one.kind, one.text) for one in told] == [
        ("warning", "this trial is no better than the base model")
    ]


def test_a_plan_writes_nothing_and_leaves_the_process_alone(here, capsys):
    before = process()
    made = app.plan(app.SearchOptions(trials=7), app.RunOptions(workers=1))
    assert (made.trials, made.workers, made.values()["trials"]) == (7, 1, 7)
    assert list(here.iterdir()) == []
    assert process() == before
    assert capsys.readouterr() == ("", "")


def test_a_run_can_be_asked_to_end_and_says_that_it_was(here):
    stop = StopSignal()
    stop.request()
    done = app.start(app.SearchOptions(trials=3), stop=stop)
    assert done.ended.why == "interrupted"
    assert app.resume().ended.why == "complete"


def test_what_is_watched_is_left_again_also_where_the_run_fails(monkeypatch):
    import contextlib

    seen = []

    @contextlib.contextmanager
    def watch(begun):
        seen.append((begun.study.name, begun.plan is not None))
        try:
            yield [Heard()]
        finally:
            seen.append("left")

    def fail(*_, **__):
        raise StorageError("the disk is full")

    monkeypatch.setattr(searching, "run_study", fail)
    with pytest.raises(StorageError, match="disk"):
        app.start(app.SearchOptions(trials=2), watch=watch)
    assert seen == [("demo", True), "left"]


def test_a_disk_that_is_full_once_the_study_is_made_is_said_and_the_study_goes_on(here, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "move_log", fail)
        with pytest.raises(StorageError, match=r"no space left on the disk of .*; free some and tune resume"):
            app.start(app.SearchOptions(trials=2))
    assert app.resume().ended.why == "complete"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: app.resume(), StorageError, "no such database"),
        (lambda: app.export("x", storage="none.db"), StorageError, "no such database"),
        (lambda: app.start(app.SearchOptions(data="d.jsonl")), UsageError, "--model is missing"),
        (lambda: app.RunOptions(workers=0), UsageError, "workers: 0 is neither"),
    ],
)
def test_what_goes_wrong_is_raised_and_nothing_is_left(here, call, error, said):
    with pytest.raises(error, match=said):
        call()
    assert list(here.iterdir()) == []


def test_a_total_below_what_there_is_is_refused():
    app.start(app.SearchOptions(trials=3))
    with pytest.raises(UsageError, match="has 3 already, and --trials is the total"):
        app.resume(trials=2)


def test_every_name_of_the_interface_is_there_and_no_other():
    assert all(callable(getattr(app, name)) for name in app.__all__)
    with pytest.raises(AttributeError, match="no attribute 'strat'"):
        app.strat  # noqa: B018
    assert isinstance(app.start(app.SearchOptions(trials=1)).ended, StudyEnded)
