"""Whoever hands a configuration for LLaMA-Factory to a search is told the command that it comes to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from loratune.app.config_file import read_config
from loratune.errors import UsageError

TRAIN = {
    "model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct",
    "stage": "sft",
    "finetuning_type": "lora",
    "lora_rank": 8,
    "dataset": "mine,other",
    "dataset_dir": "sets",
    "template": "qwen",
    "cutoff_len": 1024,
    "learning_rate": 1e-4,
}


def told(folder: Path, content: dict) -> str:
    file = folder / "train.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UsageError) as error:
        read_config(file)
    assert "\n" not in str(error.value)
    return str(error.value).partition("give what it names as flags: ")[2]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "my data.json").write_text("[]")
    (tmp_path / "sets" / "dataset_info.json").write_text(
        json.dumps({"mine": {"file_name": "my data.json"}, "gone": {"file_name": "gone.json"}})
    )
    return tmp_path


def test_its_model_data_template_and_length_are_told_as_flags(folder):
    data = folder / "sets" / "my data.json"
    assert told(folder, TRAIN) == (
        f"tune search --model Qwen/Qwen2.5-0.5B-Instruct --data '{data}' --template qwen --cutoff-len 1024"
    )


def test_a_quantized_base_is_told_too_and_what_is_left_blank_is_not(folder):
    said = told(folder, {**TRAIN, "quantization_bit": 4, "template": None, "cutoff_len": None})
    assert said.endswith("my data.json' --quantization-bit 4")


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "gone"},
        {"dataset": "unknown"},
        {"dataset": None},
        {"dataset_dir": "nowhere"},
        {"dataset_dir": ["a", "list"]},
    ],
)
def test_data_that_is_not_found_is_left_to_the_user(folder, changes):
    assert "--data FILE " in told(folder, {**TRAIN, **changes})


@pytest.mark.parametrize("content", ["no json", "[]", '{"mine": 3}', '{"mine": {"hf_hub_url": "org/set"}}'])
def test_a_registry_that_tells_nothing_of_it_is_no_error(folder, content):
    (folder / "sets" / "dataset_info.json").write_text(content)
    assert "--data FILE " in told(folder, TRAIN)
