"""What is wrong with the data is one line before anything is loaded, started or written."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from loratune.app import running, workers
from loratune.app.request import make_config, make_request
from loratune.demo import model_path
from loratune.errors import DataError
from loratune.objectives.identity import digests
from loratune.spaces.presets import preset

CSV = "text,label\n" + "".join(f"text {number},{number % 2}\n" for number in range(400))


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a worker is started."""

    def start(*_: Any, **__: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(workers, "ProcessWorker", start)


@pytest.mark.parametrize("command", ["search", "plan"])
@pytest.mark.usefixtures("no_worker")
def test_a_label_that_would_be_unused_is_refused_with_both_cures(
    refused: Callable[..., Any], tmp_path: Path, command: str
) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    ended = refused(command, "--model", str(model_path()), "--data", "train.csv")
    assert ended.code == 1
    assert "'label' looks like a label" in ended.complaint
    for cure in ("--format text", "--columns prompt=text,completion=label"):
        assert cure in ended.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--columns", "prompt=text,completion=lable"], "no column 'lable' (did you mean 'label'?)"),
        (["--columns", "promt=text"], "did you mean 'prompt'?"),
        (["--format", "text", "--template", "alpacca"], "did you mean 'alpaca'?"),
        (["--format", "text", "--set", "lora_target=q_porj"], "did you mean 'q_proj'?"),
        (["--format", "text", "--examples", "8", "--set", "batch_size=32"], "--set batch_size="),
        (["--format", "alpaca"], "no usable record among 400"),
    ],
)
@pytest.mark.usefixtures("no_worker")
def test_what_the_options_say_is_held_against_the_data(
    refused: Callable[..., Any], tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "train.csv").write_text(CSV)
    ended = refused("search", "--model", str(model_path()), "--data", "train.csv", *words)
    assert said in ended.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["train.csv"]


@pytest.mark.usefixtures("no_worker")
def test_a_resumed_study_is_looked_at_before_a_worker_is_started(
    refused: Callable[..., Any], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise DataError("the data is gone")

    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(running, "precheck", gone)
    ended = refused("resume", "done", "--trials=8", cwd=folder)
    assert ended.code == 1
    assert "the data is gone" in ended.err


@pytest.mark.usefixtures("no_worker")
def test_another_base_model_is_found_before_a_worker_is_started(
    refused: Callable[..., Any], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*args: Any) -> dict[str, str]:
        return {**digests(*args), "model.safetensors": "0" * 64}

    folder = tmp_path / "study"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(running, "digests", changed)
    ended = refused("resume", "done", "--trials=8", cwd=folder)
    assert ended.code == 1
    assert "model.safetensors is not the file that the study was made with; restore the model" in ended.err


@pytest.mark.parametrize(
    "written", ["columns: prompt=text,completion=label", "columns: {prompt: [text], completion: label}"]
)
def test_columns_may_stand_in_a_config_file(tmp_path: Path, written: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(f"model: {model_path()}\ndata: train.csv\n{written}\n")
    config = make_config(make_request(path, {}), preset("tiny"))
    assert config.objective.data.columns == ("prompt=text", "completion=label")
    # A flag goes over it.
    config = make_config(make_request(path, {"columns": "text=text"}), preset("tiny"))
    assert config.objective.data.columns == ("text=text",)


def test_the_plan_accounts_for_every_column(tune: Callable[..., Any], tmp_path: Path) -> None:
    records = [
        {"text": f"text {number}", "label": number % 2, "id": number}
        if number % 50
        else {"text": f"text {number}", "id": number}
        for number in range(400)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    words = ["--model", str(model_path()), "--data", "train.jsonl", "--trials", "4"]
    ended = tune("plan", *words, "--columns", "prompt=text,completion=label", "--json")
    assert ended.code == 0, ended.err
    data = json.loads(ended.out)["data"]
    assert {use["name"]: use["used_as"] for use in data["columns"]} == {
        "text": "prompt",
        "label": "answer",
        "id": "",
    }
    (reason,) = data["reasons"]
    assert reason["count"] == 8
    assert reason["reason"] == "'label', its answer, is empty"
    assert reason["places"][:2] == ["train.jsonl:1", "train.jsonl:51"]


def everything(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("words", [[], ["--study", "mine"], ["--take-over"], ["--seed", "-1"]])
@pytest.mark.usefixtures("no_worker")
def test_another_programs_database_is_refused_and_keeps_every_byte(
    refused: Callable[..., Any], tmp_path: Path, words: list[str]
) -> None:
    with sqlite3.connect(tmp_path / "places.sqlite") as connection:
        connection.execute("CREATE TABLE moz_places (url TEXT)")
    connection.close()
    before = everything(tmp_path)
    ended = refused("search", "--storage", "places.sqlite", *words)
    assert ended.code in (1, 2)
    if "-1" not in words:
        assert "is another program's database (it holds moz_places); name another file" in ended.complaint
    ended = refused("resume", "--storage", "places.sqlite")
    assert "holds no study of loratune" in ended.complaint
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "no.jsonl", "--model", "none"], "none: there is no such folder"),
        (["--study", "theirs"], "'theirs': Optuna's tables in"),
        (["--study", "-x"], "study name '-x'"),
        (["--set", "lora_rank=0"], "lora_rank"),
    ],
)
@pytest.mark.usefixtures("no_worker")
def test_a_search_that_is_refused_leaves_optunas_database_as_it_was(
    refused: Callable[..., Any], tmp_path: Path, words: list[str], said: str
) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'theirs.db'}")
    optuna.create_study(storage=storage, study_name="theirs")
    storage.remove_session()
    storage.engine.dispose()
    before = everything(tmp_path)
    ended = refused("search", "--storage", "theirs.db", *words)
    assert said in ended.complaint
    assert everything(tmp_path) == before
