"""Whoever writes the settings of another trainer is told what they are called here."""

from __future__ import annotations

import dataclasses
import re

import pytest
import transformers
from loratune.app.options import RunOptions, SearchOptions, described
from loratune.cli import tune
from loratune.integrations import trainer_flags
from loratune.integrations.trainer_flags import said_of
from loratune.spaces.params import FIELDS

SEARCH = {one.name for model in (SearchOptions, RunOptions) for one in described(model)}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_name_or_path", "--model ID"),
        ("dataset", "--data FILE"),
        ("val_size", "--validation FILE, without it 15 % of the data is held out"),
        ("num_train_epochs", "--examples N, the training examples of a trial"),
        ("max_seq_length", "--cutoff-len TOKENS"),
        ("per_device_train_batch_size", "--set batch_size=…, examples per optimizer step"),
        ("gradient_accumulation_steps", "--set batch_size=…, examples per optimizer step"),
        ("warmup_steps", "--set warmup_ratio=…, share of the optimizer steps"),
        ("lora_target_modules", "--set lora_target=…, which layers have an adapter"),
        ("bf16", "--dtype bfloat16"),
        ("output_dir", "--storage FILE, adapters lie beside it"),
    ],
)
def test_a_setting_of_another_trainer_is_told_as_the_flag_that_it_is(name, said):
    assert said_of(name, SEARCH, as_flag=True).startswith(f"here it is {said}")


@pytest.mark.parametrize("name", ["stage", "finetuning_type", "logging_steps", "overwrite_output_dir"])
def test_a_setting_without_counterpart_is_to_be_left_out(name):
    assert said_of(name, SEARCH, as_flag=True).startswith("leave it out, ")


def test_only_what_a_command_takes_is_proposed():
    (train, export) = ({param.name for param in tune.commands[it].params} for it in ("train", "export"))
    assert said_of("num_train_epochs", train, as_flag=True) == "here it is --epochs E"
    assert said_of("output_dir", export, as_flag=True) == "here it is --output PATH"
    assert said_of("val_size", export, as_flag=True) == ""
    assert said_of("warmup_steps", export, as_flag=True) == ""


def test_in_a_file_it_is_told_as_a_line_of_the_file():
    assert said_of("eval_dataset", SEARCH, as_flag=False).startswith("here it is validation: FILE, ")
    assert said_of("r", SEARCH, as_flag=False).startswith("here it is set: {lora_rank: …}, ")


def test_every_option_that_is_proposed_is_one_of_a_command():
    taken = {param.name for command in tune.commands.values() for param in command.params}
    proposed = {one.option for meanings in trainer_flags._OPTIONS.values() for one in meanings}
    assert proposed - taken == set()


def test_no_setting_of_ours_is_told_as_one_of_others():
    theirs = {*trainer_flags._OPTIONS, *trainer_flags._LEFT_OUT, *trainer_flags._ALIASES}
    assert theirs & (SEARCH | FIELDS.keys()) == set()


def test_what_is_told_of_transformers_training_arguments_are_names_that_it_has():
    """Names of old releases, and of others than Transformers, are listed here, so that a slip is seen."""
    named = {
        name
        for name in {**trainer_flags._LEFT_OUT, **trainer_flags._OPTIONS}
        if re.fullmatch(
            r"(eval|save|logging|do|load|dataloader|per_device|num_train|max_steps|optim).*", name
        )
    }
    has = {field.name for field in dataclasses.fields(transformers.TrainingArguments)}
    assert named - has == {"eval_dataset", "evaluation_strategy", "load_in_4bit", "load_in_8bit"}
