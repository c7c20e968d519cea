"""``tune train``: killed and gone on with, it ends with the same numbers and the same adapter."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from loratune.storage.store import Store
from safetensors.numpy import load_file

SMALL = ("--examples=64", "--eval-examples=16", "--set=batch_size=4,8", "--set=lora_rank=2,4", "--workers=1")
LENGTH = ("--trial=1", "--examples=256", "--patience=3", "--beside=default", "--workers=1")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


def measured(folder: Path) -> list[object]:
    """Return all that a run of full length has to repeat: its curves, its losses and its adapters."""
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        study = store.study("s.train")
        curve = [(p.trial, p.round, p.train_loss, p.eval_loss, p.grad_norm) for p in store.curve(study.id)]
        final = {n: one.losses.tobytes() for n, one in store.final_evaluations(study.id).items()}
        trials = store.trials(study.id)
        adapters = [load_file(store.study_dir(study.id) / str(trial.adapter)) for trial in trials]
    ended = [(trial.number, trial.state, trial.value, trial.rounds) for trial in trials]
    weights = [{name: tensor.tobytes() for name, tensor in adapter.items()} for adapter in adapters]
    return [sorted(curve), ended, final, weights]


def rounds(folder: Path) -> int:
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        known = {head.name: head.id for head in store.studies()}
        return len(store.curve(known["s.train"])) if "s.train" in known else 0


def test_killed_and_gone_on_with_it_ends_with_the_same_numbers(begin, tune, tmp_path, is_alive, patiently):
    assert tune("search", "--trials=3", "--study=s", *SMALL).code == 0
    run = begin("train", "s", *LENGTH)
    for goal in (2, 6):
        run.wait_for(lambda goal=goal: rounds(tmp_path) >= goal, f"{goal} rounds")
        left = run.children()
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
        patiently(lambda left=left: not is_alive(left), "the end of its worker")
        run = begin("resume")
    assert run.end() == 0, run.said
    assert "is the best of 2" in run.said

    whole = tmp_path / "whole"
    whole.mkdir()
    assert tune("search", "--trials=3", "--study=s", *SMALL, cwd=whole).code == 0
    done = tune("train", "s", "--json", *LENGTH, cwd=whole)
    assert done.code == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [one["event"] for one in told].count("trial_ended") == 2
    assert measured(tmp_path) == measured(whole)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--epochs=0"], "--epochs"),
        (["--patience=0"], "--patience"),
        (["--trial=99"], "has no trial 99"),
        (["--examples=4"], "too few"),
        (["--keep=none"], "--keep"),
    ],
)
def test_bad_input_is_one_line_and_nothing_begins(study, tune, words, complaint):
    before = tune("list", "--json", cwd=study).json
    ended = tune("train", *words, cwd=study)
    assert ended.code in (1, 2)
    assert complaint in ended.complaint
    assert tune("list", "--json", cwd=study).json == before
