"""A study of an older version opens, resumes and reports, and ends with the numbers that it had there.

``stored/interrupted.tar.xz`` is a database and its training states as the code of 2026-11-27 left them when
it was interrupted in the midst of ten of twelve trials; ``stored/whole.json`` is the same study in one go:

    tune search --model MODEL --data DATA --trials 12 --examples 256 --eval-examples 32 --workers 1 --slots 3
        --seed 3 --study reference --deterministic --set batch_size=4,8 --set lora_rank=2,4
        --set lora_target=q_proj,v_proj

MODEL and DATA were copies of the demo's in a folder that the study names, so they are copied there again.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loratune.demo import data_path, model_path
from loratune.spaces.params import LoraParams

STORED = Path(__file__).parent / "stored"
PLACE = Path("/tmp/loratune-reference")
WHOLE = json.loads((STORED / "whole.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def model_and_data() -> Iterator[None]:
    """Put model and data where the study says that they are."""
    if PLACE.exists() and not (PLACE / "model").is_dir():
        pytest.skip(f"{PLACE} belongs to something else")
    made = not PLACE.exists()
    if made:
        shutil.copytree(model_path(), PLACE / "model")
        shutil.copy(data_path(), PLACE / data_path().name)
    yield
    if made:
        shutil.rmtree(PLACE, ignore_errors=True)


def unpack(folder: Path) -> Path:
    with tarfile.open(STORED / "interrupted.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def tune(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "loratune", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TUNE_PLAIN": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def same_machine() -> bool:
    """Whether last bits can be compared: they belong to a build of the libraries and an instruction set."""
    stored = WHOLE["environment"]
    here = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "numpy")}
    here["instruction_set"] = torch.backends.cpu.get_cpu_capability()
    return all(stored[name] == value for name, value in here.items())


@pytest.fixture(scope="module", name="resumed")
def resume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unpack(tmp_path_factory.mktemp("resumed"))
    tune(folder, "resume", "--workers", "1", "--slots", "3", "--deterministic")
    return folder


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "tune.db") as connection:
        return connection.execute(query).fetchall()


def test_it_opens_where_it_stood(tmp_path: Path) -> None:
    unpack(tmp_path)
    assert "7/12" in tune(tmp_path, "list")
    shown = tune(tmp_path, "show")
    assert "2.4919" in shown
    tune(tmp_path, "report", "-o", "report.html")
    assert "2.4919" in (tmp_path / "report.html").read_text()


def test_resumed_it_ends_with_twelve_trials_and_their_configurations(resumed: Path) -> None:
    found = rows(resumed, "select number, params from tune_trials order by number")
    # What is proposed from the eleventh trial on follows from losses, whose last bits a machine may change.
    known = 12 if same_machine() else 10
    assert len(found) == 12
    # As parameters: a hyperparameter that the study did not know yet has its default in both.
    assert [LoraParams.from_dict(json.loads(params)) for _, params in found[:known]] == [
        LoraParams.from_dict(trial["params"]) for trial in WHOLE["trials"][:known]
    ]


def test_resumed_every_number_is_that_of_the_study_in_one_go(resumed: Path) -> None:
    if not same_machine():
        pytest.skip("made by another build of the libraries or on another instruction set")
    ends = rows(resumed, "select number, state, value, quanta from tune_trials order by number")
    assert ends == [
        tuple(trial[key] for key in ("number", "state", "value", "quanta")) for trial in WHOLE["trials"]
    ]
    keys = ("trial", "quantum", "examples", "train_loss", "eval_loss", "learning_rate", "grad_norm")
    curve = rows(resumed, f"select {', '.join(keys)} from tune_curve order by trial, quantum")
    assert curve == [tuple(point[key] for key in keys) for point in WHOLE["curve"]]
    measured = rows(resumed, "select trial, quantum, losses from tune_evaluations order by trial, quantum")
    assert len(measured) == len(WHOLE["evaluations"])
    for (trial, quantum, losses), stored in zip(measured, WHOLE["evaluations"], strict=True):
        assert (trial, quantum) == (stored["trial"], stored["quantum"])
        assert np.frombuffer(losses, "<f4").tolist() == stored["losses"]


def test_made_anew_by_this_code_it_is_the_same_study_but_for_rounding(tmp_path: Path) -> None:
    if not same_machine():
        pytest.skip("made by another build of the libraries or on another instruction set")
    words = ["--model", str(PLACE / "model"), "--data", str(PLACE / data_path().name), "--trials=12"]
    words += ["--examples=256", "--eval-examples=32", "--workers=1", "--slots=3", "--seed=3"]
    words += ["--deterministic", "--set=batch_size=4,8", "--set=lora_rank=2,4"]
    tune(tmp_path, "search", *words, "--set=lora_target=q_proj,v_proj")
    # To the last bits it is another: micro-steps are padded to fewer tokens since, which a study keeps.
    ends = rows(tmp_path, "select number, state, quanta from tune_trials order by number")
    assert ends == [tuple(trial[key] for key in ("number", "state", "quanta")) for trial in WHOLE["trials"]]
    points = rows(
        tmp_path, "select trial, quantum, train_loss, grad_norm from tune_curve order by trial, quantum"
    )
    known = [
        tuple(point[key] for key in ("trial", "quantum", "train_loss", "grad_norm"))
        for point in WHOLE["curve"]
    ]
    assert [point[:2] for point in points] == [point[:2] for point in known]
    assert np.array(points) == pytest.approx(np.array(known), rel=1e-3)
