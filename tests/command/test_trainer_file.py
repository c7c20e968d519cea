"""A user hands the file of their trainer to a search, as it is, and their own run is what is to be beaten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loratune.demo import data_path, model_path

TRAIN = {
    "model_name_or_path": str(model_path()),
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_target": "q_proj,v_proj",
    "dataset": "mine",
    "dataset_dir": "data",
    "template": "default",
    "cutoff_len": 256,
    "packing": True,
    "output_dir": "saves",
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 8,
    "learning_rate": 1e-4,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a user of LLaMA-Factory has one."""
    (tmp_path / "data").mkdir()
    shutil.copy(data_path(), tmp_path / "data" / "mine.jsonl")
    (tmp_path / "data" / "dataset_info.json").write_text('{"mine": {"file_name": "mine.jsonl"}}')
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(TRAIN))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_search_is_held_against_what_the_file_trains_with(tune: Callable[..., Any], folder: Path) -> None:
    before = (folder / "train.yaml").read_bytes()
    words = ("--config=train.yaml", "--examples=64", "--eval-examples=16", "--set=batch_size=4,8")
    ended = tune("search", *words, "--trials=3", "--workers=1", "--pruner=none")
    assert ended.code == 0, ended.err
    said = ended.out + ended.err
    assert "what train.yaml trains with, which all are held against: learning_rate 0.0001" in said
    assert "not taken over: packing True" in said
    assert "Trial 0 (train.yaml) has " in said
    shown = tune("show", "--trial=0", "--json").json
    assert (shown["params"]["learning_rate"], shown["params"]["lora_target"]) == (1e-4, "q_proj,v_proj")
    again = tune("search", *words, "--trials=3", "--workers=1", "--pruner=none")
    assert again.code == 0, again.err
    assert len(tune("list", "--json").json) == 1  # the same command went on with the same study
    assert (folder / "train.yaml").read_bytes() == before


@pytest.mark.usefixtures("folder")
def test_a_plan_names_the_file_for_programs_too(tune: Callable[..., Any]) -> None:
    own = tune("plan", "--config=train.yaml", "--json").json["own"]
    assert own["file"] == "train.yaml"
    assert own["hyperparameters"]["lora_rank"] == 8
    assert own["notes"] == [
        "not taken over: packing True",
        "the preset was widened to hold it: learning_rate 0.0001 to 0.1, log scale; "
        "lora_target all | q_proj,v_proj",
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "mine,alpaca"}, "dataset: 'alpaca' is not told of in data/dataset_info.json"),
        ({"eval_dataset": "mine,alpaca"}, "eval_dataset: names 2 data sets, mine, alpaca"),
        ({"dataset": "unknown"}, "dataset: 'unknown' is not told of in data/dataset_info.json"),
        ({"finetuning_type": "full"}, "finetuning_type: 'full' has no adapters"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast' is not a"),
        ({"lora_rank": [8, 16]}, "lora_rank: "),
        ({"model_name_or_path": None}, "model_name_or_path: None is no model"),
        (
            {"trials": 4},
            "trials: is an option of a search, in a file for LLaMA-Factory; give it as a flag, --trials",
        ),
        ({"cutoff_len": "long"}, "cutoff_len: 'long'"),
    ],
)
def test_what_is_wrong_in_it_is_one_line_and_nothing_is_made(
    tune: Callable[..., Any], folder: Path, change: dict[str, Any], said: str
) -> None:
    (folder / "train.yaml").write_text(yaml.safe_dump({**TRAIN, **change}))
    ended = tune("search", "--config", "train.yaml")
    assert ended.code == 2
    assert ended.complaint.startswith("tune: train.yaml: ")
    assert said in ended.complaint
    assert sorted(path.name for path in folder.iterdir()) == ["data", "train.yaml"]
    assert json.loads((folder / "data" / "dataset_info.json").read_text()).keys() == {"mine"}
