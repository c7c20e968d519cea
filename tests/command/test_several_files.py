"""A study of several files, from the plan to the export, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loratune.demo import model_path

MODEL = ("--model", str(model_path()))
SMALL = ("--examples=64", "--eval-examples=16", "--set=batch_size=4,8", "--set=lora_rank=2,4", "--workers=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files of records, in different formats and kinds of files."""
    turns = [
        [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]
        for n in range(60)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"messages": one}) for one in turns))
    rows = "".join(f"Add {n} and 1.,{n + 1}\n" for n in range(80))
    (tmp_path / "b.csv").write_text(f"Question,Answer\n{rows}only one\n")
    return tmp_path


def test_two_files_are_searched_shown_reported_and_exported_together(
    tune: Callable[..., Any], folder: Path
) -> None:
    ended = tune("search", *MODEL, "--data", "a.jsonl", "--data", "b.csv", "--trials=3", *SMALL)
    assert ended.code == 0, ended.err
    (study,) = tune("list", "--json").json
    assert study["study"] == "model-a-b"
    paths = [str(folder / "a.jsonl"), str(folder / "b.csv")]
    shown = tune("show").out
    assert ", ".join(paths) in " ".join(shown.split())

    again = ("search", *MODEL, *SMALL, "--trials=3", "--study=model-a-b")
    assert tune(*again, "--data", "a.jsonl", "--data", "b.csv").code == 0
    turned = tune(*again, "--data", "b.csv", "--data", "a.jsonl")
    assert "is '{}' and '{}', not '{}' and '{}'".format(*paths, *paths[::-1]) in turned.complaint
    assert f"not '{paths[0]}';" in tune(*again, "--data", "a.jsonl").complaint

    assert tune("report", "-o", "report.html").code == 0
    page = (folder / "report.html").read_text()
    assert all(path in page for path in paths)
    assert tune("export", "--format", "llamafactory", "-o", "out/train.yaml", "--anyway").code == 0
    names = yaml.safe_load((folder / "out" / "train.yaml").read_text())["dataset"].split(",")
    registry = json.loads((folder / "out" / "dataset_info.json").read_text())
    assert [registry[name]["file_name"] for name in names] == paths
    # What was exported is searched on the same tokens.
    planned = tune("plan", "--config", "out/train.yaml", "--cutoff-len", "1024", *SMALL, "--json").json
    assert planned["data"]["files"] == paths
    assert [planned["data"][part] for part in ("records", "train", "bad")] == [141, 98, 1]
    assert planned["data"]["reasons"][0]["places"] == ["b.csv:82"]

    (folder / "b.csv").rename(folder / "c.csv")
    assert "there is no data file" in tune("resume", "--trials=4").complaint


def test_the_example_of_llamafactory_itself_is_planned(tune: Callable[..., Any], folder: Path) -> None:
    (folder / "data").mkdir()
    registry = {}
    for name, start in (("identity", 0), ("alpaca_en_demo", 90)):
        records = [
            {"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(start, start + 100)
        ]
        (folder / "data" / f"{name}.json").write_text(json.dumps(records))
        registry[name] = {"file_name": f"{name}.json"}
    (folder / "data" / "dataset_info.json").write_text(json.dumps(registry))
    train = {
        "model_name_or_path": str(model_path()),
        "stage": "sft",
        "finetuning_type": "lora",
        "dataset": "identity,alpaca_en_demo",
        "template": "default",
        "max_samples": 1000,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(train))
    data = tune("plan", "--config=train.yaml", "--json").json["data"]
    assert [Path(file).name for file in data["files"]] == ["identity.json", "alpaca_en_demo.json"]
    # Ten of the records are in both.
    assert (data["records"], data["duplicates"], data["train"]) == (200, 10, 134)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.jsonl", "nope.csv"], "there is no data file"),
        (["a.jsonl", "a.jsonl"], "is given twice; give each file once"),
        (["a.jsonl", ""], "--data is empty; name a file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_with_one_of_the_files_is_one_line(
    refused: Callable[..., Any], words: list[str], said: str
) -> None:
    ended = refused("search", *MODEL, *(part for word in words for part in ("--data", word)))
    assert said in ended.complaint
