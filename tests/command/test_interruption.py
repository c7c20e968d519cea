"""A search that is interrupted and killed again and again ends as one that never was, bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from loratune.app import preparing, searching
from loratune.app.request import make_config
from loratune.command import watching
from loratune.demo import data_path, model_path
from loratune.errors import StudyNotFound
from loratune.objectives.testing.fake import FakeWorker
from loratune.spaces.presets import preset
from loratune.storage.store import Store

TRIALS = 24
"""Trials of the search that is interrupted: so many that each worker trains three of them at once."""

BLOWS = ("Ctrl-C", "kill worker", "Ctrl-C", "kill coordinator", "kill both", "Ctrl-C")
CHOICES = ("--examples=64", "--eval-examples=16", "--set=batch_size=4,8", "--set=lora_rank=2,4")
ENDLESS = ("search", "--trials=1000", "--study=live", "--workers=2", *CHOICES)
"""A search that no test waits for the end of."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


def rounds(folder: Path) -> int:
    """Return how many rounds are on record."""
    try:
        with Store.open(str(folder / "tune.db"), mode="read") as store:
            return sum(len(store.curve(study.id)) for study in store.studies())
    except StudyNotFound:
        return 0


def losses(folder: Path, study: str) -> dict[int, list[tuple[object, ...]]]:
    """Return by trial everything that was measured after each round but for times and memory."""
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        record = store.study(study)
        found: dict[int, list[tuple[object, ...]]] = {trial.number: [] for trial in store.trials(record.id)}
        for point in store.curve(record.id):
            seen = store.evaluation(record.id, point.trial, point.round)
            found[point.trial].append(
                (
                    point.round,
                    point.examples,
                    point.train_loss,
                    point.eval_loss,
                    point.learning_rate,
                    point.grad_norm,
                    None if seen is None else seen.losses.tobytes(),
                    None if seen is None else seen.tokens.tobytes(),
                )
            )
        return found


def test_a_search_struck_six_times_loses_nothing_and_ends_bit_for_bit_alike(
    begin, tune, tmp_path, is_alive, patiently
):
    total = 8 * TRIALS
    search = begin("search", f"--trials={TRIALS}", "--study=struck", "--workers=2", "--pruner=none", *CHOICES)
    for index, blow in enumerate(BLOWS):
        goal = max(rounds(tmp_path) + 1, total * (index + 1) // (len(BLOWS) + 2))
        search.wait_for(lambda goal=goal: rounds(tmp_path) >= goal, f"{goal} rounds")
        search.wait_for(lambda search=search: len(search.children()) == 2, "two workers")
        workers = search.children()
        if blow == "Ctrl-C":
            assert search.end(signal.SIGINT) == 130
            assert "nothing is lost" in search.said
            assert "go on with: tune resume struck\n" in search.said
        if blow in ("kill worker", "kill both"):
            # It may have been started anew in between, as after a death that we did not cause.
            with contextlib.suppress(ProcessLookupError):
                os.kill(min(workers), signal.SIGKILL)
        if blow in ("kill coordinator", "kill both"):
            assert search.end(signal.SIGKILL) == -signal.SIGKILL
        if blow == "kill worker":
            # The search itself starts another one and goes on.
            search.wait_for(lambda search=search: "worker 0" in search.said, "word of the death")
            continue
        patiently(lambda workers=workers: not is_alive(workers), "the end of all workers")
        search = begin("resume", "struck", "--workers=2")
    assert search.end() == 0, search.said

    (row,) = tune("list", "--json").json
    assert row["ended"] == row["trials"] == TRIALS
    assert sum(row["states"].values()) == TRIALS
    assert "failed" not in row["states"]
    with Store.open(str(tmp_path / "tune.db"), mode="read") as store:
        record = store.study("struck")
        trials = store.trials(record.id)
        assert [trial.number for trial in trials] == list(range(TRIALS))
        assert len({trial.params for trial in trials}) == TRIALS
        assert len(store.events(record.id, "resumed")) == 5
        assert {"interrupted", "worker"} <= {event.kind for event in store.events(record.id)}
        left = [path.name for path in store.study_dir(record.id).rglob("*.safetensors")]
        assert len(left) == min(5, sum(trial.state == "complete" for trial in trials)), left

    enqueued = [f"--enqueue={json.dumps(trial.params.to_dict())}" for trial in trials[1:]]
    again = tune(
        "search",
        f"--trials={TRIALS}",
        "--study=whole",
        "--workers=1",
        "--slots=5",
        "--pruner=none",
        *CHOICES,
        *enqueued,
    )
    assert again.code == 0, again.err
    with Store.open(str(tmp_path / "tune.db"), mode="read") as store:
        whole = store.trials(store.study("whole").id)
        assert [trial.params for trial in whole] == [trial.params for trial in trials]
        assert [(trial.state, trial.value) for trial in whole] == [
            (trial.state, trial.value) for trial in trials
        ]
    struck = losses(tmp_path, "struck")
    assert struck == losses(tmp_path, "whole")
    assert {len(points) for trial, points in struck.items() if trials[trial].state == "complete"} == {8}


def test_while_a_search_runs_others_may_look_and_none_may_write(begin, tune, tmp_path, is_alive):
    search = begin(*ENDLESS)
    search.wait_for(lambda: rounds(tmp_path) >= 20, "20 rounds")

    (row,) = tune("list", "--json").json
    assert row["study"] == "live"
    assert row["owner"].startswith(f"pid {search.pid} on ")
    shown = tune("show", "--json")
    assert shown.code == 0, shown.err
    assert "trial 0" in tune("show", "--trial=0").out
    assert tune("report", "-o", "report.html").code == 0
    assert "live" in (tmp_path / "report.html").read_text(encoding="utf-8")

    second = tune("resume", "live")
    assert second.code == 1
    assert f"process {search.pid} on this machine" in second.complaint
    assert "live" in second.complaint

    before = rounds(tmp_path)
    search.wait_for(lambda: rounds(tmp_path) > before, "more rounds after all of that")
    workers = search.children()
    assert search.end(signal.SIGTERM) == 130
    assert "go on with: tune resume live\n" in search.said
    assert not is_alive(workers)
    assert tune("list", "--json").json[0]["owner"] is None


def test_a_search_is_taken_over_only_when_told_to(begin, tune, tmp_path, is_alive):
    search = begin(*ENDLESS)
    search.wait_for(lambda: rounds(tmp_path) >= 4, "4 rounds")
    workers = search.children()
    follower = begin("resume", "live", "--take-over", "--workers=2")
    follower.wait_for(lambda: "resumed: " in follower.said, "that it resumed")
    assert search.end() == 130
    assert not is_alive(workers)
    before = rounds(tmp_path)
    follower.wait_for(lambda: rounds(tmp_path) > before, "more rounds")
    assert follower.end(signal.SIGINT) == 130


def test_ctrl_c_before_the_first_trial_leaves_nothing_behind(begin, tmp_path, is_alive, patiently):
    search = begin(*ENDLESS)
    search.wait_for(lambda: len(search.children()) == 2, "both workers, which start at the same time")
    workers = search.children()
    assert search.end(signal.SIGINT) == 130
    assert "Traceback" not in search.said
    assert "tune: interrupted" in search.said
    # A worker that has hardly begun hears of the end a moment later.
    patiently(lambda: not is_alive(workers), "the end of the worker")
    assert not (tmp_path / "tune.db").exists()


def starting(search, index):
    """Wait until both workers have been started, and return the one of an index."""
    search.wait_for(lambda: len(search.children()) == 2, "both workers, which start at the same time")

    def named():
        called = f"loratune worker {index}".encode()
        return [pid for pid in search.children() if called in Path(f"/proc/{pid}/cmdline").read_bytes()]

    search.wait_for(named, f"worker {index}")  # until then it is a copy of the search
    return named()[0]


def test_the_first_worker_killed_while_it_looks_ends_the_search_and_the_other_worker(
    begin, tmp_path, is_alive, patiently
):
    search = begin(*ENDLESS)
    first = starting(search, 0)
    workers = search.children()
    os.kill(first, signal.SIGKILL)
    assert search.end() == 1
    assert "Traceback" not in search.said
    assert "tune: worker 0 was killed by SIGKILL" in search.said.splitlines()[-1]
    patiently(lambda: not is_alive(workers), "the end of both workers")
    assert not (tmp_path / "tune.db").exists()


def test_another_worker_killed_while_it_waits_is_started_again(begin, tune):
    search = begin("search", "--trials=8", "--study=live", "--workers=2", *CHOICES)
    os.kill(starting(search, 1), signal.SIGKILL)
    assert search.end() == 0
    assert "worker 1 was killed by SIGKILL" in search.said
    (row,) = tune("list", "--json").json
    assert row["ended"] == 8
    assert "failed" not in row["states"]


def test_a_refusal_ends_all_workers_and_leaves_nothing(begin, tmp_path, is_alive, patiently):
    shutil.copytree(model_path(), tmp_path / "model")
    shape = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(shape | {"intermediate_size": 8}))
    search = begin(*ENDLESS, f"--model={tmp_path / 'model'}", f"--data={data_path()}")
    workers = set()
    search.wait_for(lambda: workers.update(search.children()) or len(workers) == 2, "both workers")
    assert search.end() == 1
    assert search.said.splitlines()[-1].startswith("tune: ")
    assert "in another shape" in search.said.splitlines()[-1]
    patiently(lambda: not is_alive(workers), "the end of both workers")
    assert not (tmp_path / "tune.db").exists()


def interrupted(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_ctrl_c_while_a_study_is_opened_names_the_command_that_goes_on(refused, tmp_path, monkeypatch):
    Store.open(str(tmp_path / "other.db"), mode="create").close()
    monkeypatch.setattr(Store, "study", interrupted)
    ended = refused("resume", "mine", "--storage=other.db")
    assert ended.code == 130
    goes_on = f"tune resume mine --storage {tmp_path / 'other.db'}"
    assert ended.complaint == f"tune: interrupted; go on with: {goes_on}"


def test_ctrl_c_after_a_study_is_made_names_the_command_that_goes_on(refused, tmp_path, monkeypatch):
    def prepare(request, **_):
        worker = FakeWorker()
        config = make_config(request, preset("tiny"))
        return preparing.PreparedStudy(config=config, facts=worker.prepare(config.objective), worker=worker)

    monkeypatch.setattr(searching, "prepare", prepare)
    monkeypatch.setattr(searching, "settle", lambda *_: None)  # a fake worker has left nothing
    monkeypatch.setattr(watching, "print_plan", interrupted)
    ended = refused("search", "--trials=2", "--study=early")
    assert ended.code == 130
    assert ended.complaint == "tune: interrupted; go on with: tune resume early"
    with Store.open(str(tmp_path / "tune.db"), mode="read") as store:
        assert [study.name for study in store.studies()] == ["early"]


def test_two_ctrl_c_end_at_once(begin, tmp_path, is_alive):
    search = begin(*ENDLESS)
    search.wait_for(lambda: rounds(tmp_path) >= 2, "2 rounds")
    workers = search.children()
    search.process.send_signal(signal.SIGINT)
    assert search.end(signal.SIGINT) == 130
    assert "Traceback" not in search.said
    assert not is_alive(workers)


def test_a_search_whose_time_is_up_ends_well_and_can_go_on(tune, tmp_path):
    ended = tune(*ENDLESS, "--timeout=1")
    assert ended.code == 0
    assert "the time is up" in ended.err
    assert "go on with: tune resume live\n" in ended.err
    (row,) = tune("list", "--json").json
    assert row["owner"] is None
    assert row["ended"] < 1000
