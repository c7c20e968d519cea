"""What a configuration for LLaMA-Factory comes to: a search, and the run that it would have been."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from loratune.errors import UsageError
from loratune.integrations.llamafactory_config import read_run

TRAIN = {
    "model_name_or_path": "Qwen/Qwen2.5-0.5B-Instruct",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 16,
    "dataset": "mine",
    "dataset_dir": "sets",
    "template": "qwen",
    "cutoff_len": 1024,
    "output_dir": "saves",
    "logging_steps": 10,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 8,
    "learning_rate": "1e-4",
    "bf16": True,
    "eval_steps": 500,
}
TURNS = {"formatting": "sharegpt", "columns": {"messages": "chat", "system": "persona"}}
ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


@pytest.fixture
def read(tmp_path):
    """Read a configuration that lies beside a registry of data sets, ``mine`` and others."""
    (tmp_path / "sets").mkdir()
    for name in ("mine.json", "second.json"):
        (tmp_path / "sets" / name).write_text("[]")

    def made(entry=None, flags=(), **changes):
        registry = {"mine": {"file_name": "mine.json", **(entry or {})}, "hub": {"hf_hub_url": "org/set"}}
        registry["second"] = {"file_name": "second.json"}
        registry |= {"gone": {"file_name": "gone.json"}, "other": {"file_name": "mine.json"}}
        (tmp_path / "sets" / "dataset_info.json").write_text(json.dumps(registry))
        return read_run({**TRAIN, **changes}, tmp_path / "train.yaml", flags)

    made.data = str(tmp_path / "sets" / "mine.json")
    made.second = str(tmp_path / "sets" / "second.json")
    return made


def test_model_data_and_length_become_options_of_a_search(read):
    options = read(quantization_bit=4, seed=7, model_revision="abc", max_grad_norm=0.5).options
    assert options == {
        "model": "Qwen/Qwen2.5-0.5B-Instruct",
        "revision": "abc",
        "data": read.data,
        "format": "alpaca",
        "cutoff_len": 1024,
        "quantization_bit": 4,
        "seed": 7,
        "max_grad_norm": 0.5,
    }


def test_what_it_leaves_out_is_as_llamafactory_has_it(read):
    run = read(**dict.fromkeys((*TRAIN.keys() - {"model_name_or_path", "dataset", "dataset_dir"},)))
    assert run.options["cutoff_len"] == 2048
    assert run.params == {
        "learning_rate": 5e-5,
        "batch_size": 8,
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "lora_target": "all",
        "weight_decay": 0.0,
        "lr_scheduler_type": "linear",
        "loraplus_lr_ratio": 1.0,
        "use_rslora": False,
    }
    assert (run.warmup_ratio, run.epochs, run.max_steps) == (0.0, 3.0, None)
    assert run.notes == ("without a template the model's own; where it has none default, there empty",)


def test_the_batch_is_that_of_an_optimizer_step_and_alpha_is_twice_the_rank(read):
    params = read().params
    assert (params["batch_size"], params["lora_rank"], params["lora_alpha"]) == (16, 16, 32)
    assert read(lora_alpha=5).params["lora_alpha"] == 5


@pytest.mark.parametrize(
    ("said", "ratio", "steps"),
    [
        ({"warmup_ratio": 0.1}, 0.1, 0),
        ({"warmup_steps": 20}, 0.0, 20),
        ({"warmup_steps": 0.03}, 0.03, 0),
        ({"warmup_steps": 0, "warmup_ratio": 0.1}, 0.1, 0),
        ({"warmup_steps": 20, "warmup_ratio": 0.0}, 0.0, 20),
        ({"warmup_steps": 20, "lr_scheduler_type": "constant"}, 0.0, 0),
    ],
)
def test_a_warm_up_is_a_share_or_a_number_of_steps(read, said, ratio, steps):
    run = read(**said)
    assert (run.warmup_ratio, run.warmup_steps) == (ratio, steps)


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({}, "for the template qwen the model's own chat template, default where it has none"),
        (
            {"stage": "pt"},
            "stage pt packs texts into blocks of cutoff_len; here each is an example of its own",
        ),
        ({"enable_thinking": False}, "not taken over: enable_thinking False"),
        ({"double_quantization": False}, "not taken over: double_quantization False"),
        (
            {"lr_scheduler_type": "polynomial"},
            "the schedule polynomial is not known here; trial 0 has cosine",
        ),
        ({"val_size": 0.1}, "instead of its val_size of 0.1, 15 % is held out, and 15 % for a test set"),
        ({"num_train_epochs": 5.0}, "its 5 epochs are a full run's, as tune train --epochs 5"),
        ({"packing": True, "use_dora": True}, "not taken over: packing True, use_dora True"),
        ({"max_steps": 5}, "its 5 steps are a full run's, as tune train --examples 80"),
        ({"learning_rte": 0.1}, "not taken over: learning_rte 0.1 (did you mean learning_rate?)"),
        ({"optim": "adafactor"}, "not taken over: optim 'adafactor'"),
    ],
)
def test_what_is_otherwise_in_a_search_is_said(read, said, note):
    assert note in read(**said).notes


def test_how_a_run_is_logged_saved_and_started_needs_no_word(read):
    quiet = {
        "overwrite_output_dir": True,
        "plot_loss": True,
        "save_only_model": False,
        "ddp_timeout": 180000000,
        "deepspeed": "examples/deepspeed/ds_z3_config.json",
        "flash_attn": "fa2",
        "optim": "adamw_torch",
        "packing": False,
        "double_quantization": True,
        "hf_hub_token": "hf_SECRET",
        "swanlab_api_key": "SECRET",
        "resume_from_checkpoint": None,
        "template": "default",
    }
    assert read(**quiet).notes == ()
    assert read(**quiet).options["template"] == "default"


@pytest.mark.parametrize(
    ("entry", "stage", "columns", "kind"),
    [
        ({}, "sft", None, "alpaca"),
        ({"columns": {"prompt": "q", "response": "a"}}, "sft", {"instruction": "q", "output": "a"}, None),
        (TURNS, "sft", {"conversations": "chat", "system": "persona"}, None),
        ({**TURNS, "tags": ROLES}, "sft", {"messages": "chat", "system": "persona"}, None),
        ({"formatting": "sharegpt"}, "sft", None, "sharegpt"),
        ({"formatting": "sharegpt", "tags": ROLES}, "sft", None, "messages"),
        ({"columns": {"prompt": "body"}}, "pt", {"text": "body"}, "text"),
    ],
)
def test_the_registry_says_how_columns_are_called(read, entry, stage, columns, kind):
    options = read(entry, stage=stage).options
    assert options.get("columns") == columns
    assert options.get("format") == kind


@pytest.mark.parametrize("named", ["mine,second", " mine , second ", ["mine", "second"]])
def test_several_data_sets_are_as_many_files_in_their_order(read, named):
    options = read(dataset=named).options
    assert options["data"] == [{"path": read.data}, {"path": read.second}]
    assert options["format"] == "alpaca"


def test_data_sets_that_call_their_columns_otherwise_are_each_read_by_its_own(read):
    found = read({"columns": {"prompt": "q", "response": "a"}}, dataset="mine,second")
    assert found.options["data"] == [
        {"path": read.data, "columns": {"instruction": "q", "output": "a"}},
        {"path": read.second, "format": "alpaca"},
    ]
    assert not found.options.keys() & {"columns", "format"}


def test_samples_are_counted_for_each_data_set(read):
    assert read({"num_samples": 7}, dataset="mine,second", max_samples=9).most == (7, 9)
    assert read({"num_samples": 7}, dataset="mine,second").most == (7, None)


def test_a_mixture_is_said_to_be_joined_where_there_is_something_to_mix(read):
    said = [
        note for note in read(dataset="mine,second", mix_strategy="interleave_over").notes if "mixed" in note
    ]
    assert said == [
        "the data sets are joined one after the other, each record once, not mixed by 'interleave_over'"
    ]
    for quiet in ({"dataset": "mine,second", "mix_strategy": "concat"}, {"mix_strategy": "interleave_over"}):
        assert "mix" not in " ".join(read(**quiet).notes)


def test_what_it_evaluates_on_is_what_the_search_validates_on(read):
    found = read(eval_dataset="other", val_size=0.1)
    assert found.options["validation"] == read.data
    assert not [note for note in found.notes if "val_size" in note]
    assert "validation" not in read(flags=["validation"], eval_dataset="unknown").options
    with pytest.raises(UsageError, match="eval_dataset: its columns are called otherwise"):
        read({"columns": {"prompt": "q", "response": "a"}}, eval_dataset="other")


@pytest.mark.parametrize(
    ("entry", "said", "told"),
    [
        ({}, {"finetuning_type": "full"}, "finetuning_type: 'full' has no adapters to search for"),
        ({}, {"stage": "dpo"}, "stage: 'dpo' is not trained here"),
        ({}, {"adapter_name_or_path": "saves"}, "adapter_name_or_path: a search begins with fresh adapters"),
        (
            {},
            {"eval_dataset": "mine,other"},
            "eval_dataset: names 2 data sets, mine, other, and a study validates on one file: write",
        ),
        ({}, {"dataset": "mine, mine"}, "dataset: names 'mine' twice, and repeats of a record are left out"),
        ({}, {"dataset": "mine,gone"}, "gone.json, the file of 'gone', is not there"),
        ({}, {"dataset": None}, "dataset: is missing; give the file with --data"),
        ({}, {"dataset": "unknown"}, "dataset: 'unknown' is not told of in sets/dataset_info.json or "),
        ({}, {"dataset": "gone"}, "gone.json, the file of 'gone', is not there; give the file with --data"),
        ({}, {"dataset": "hub"}, "dataset: 'hub' is no file of this machine"),
        ({"ranking": True}, {}, "dataset: 'mine' holds more than texts to learn"),
        ({"columns": {"images": "i"}}, {}, "dataset: 'mine' holds more than texts to learn"),
        (
            {**TURNS, "tags": {"role_tag": "who"}},
            {},
            "say by 'who' who speaks; bring them to role",
        ),
        ({"hf_hub_url": "org/set"}, {}, "dataset: 'mine' is no file of this machine"),
        ({"formatting": "weird"}, {}, "'mine' has the formatting 'weird', which is not read here"),
        ({"file_name": "."}, {}, "is a folder; write one file and give the file with --data"),
        (
            {**TURNS, "tags": {"user_tag": "assistant", "assistant_tag": "user"}},
            {},
            "have 'assistant' for user_tag, which is not read so here; bring it to user",
        ),
        (
            {**TURNS, "tags": {"role_tag": "role"}},
            {},
            "have 'value' for content_tag, which is not read so here",
        ),
        ({**TURNS, "tags": ["a"]}, {}, "who speaks; bring them to role and content"),
        ({}, {"model_name_or_path": " "}, "model_name_or_path: ' ' is no model"),
        ({}, {"lora_target": 5}, "lora_target: 5 is not a word"),
        ({}, {"template": ["a"]}, "template: ['a'] is not a word"),
        ({}, {"warmup_steps": -5}, "warmup_steps: -5 is below 0"),
        ({}, {"warmup_steps": 5, "warmup_ratio": 0.1}, "warmup_ratio, warmup_steps: which of them counts"),
        ({}, {"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: 0 is not a whole number of 1"),
        ({}, {"warmup_ratio": "some"}, "warmup_ratio: 'some' is not a number"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_in_one_line(read, entry, said, told):
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        read(entry, **said)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["[]", '{"mine": 3}'])
def test_a_registry_that_tells_nothing_is_as_none(read, tmp_path, content):
    read()
    (tmp_path / "sets" / "dataset_info.json").write_text(content)
    with pytest.raises(UsageError, match="dataset: 'mine' is not told of in "):
        read_run(TRAIN, tmp_path / "train.yaml")


def test_with_a_file_named_otherwise_no_data_set_is_looked_up(tmp_path):
    run = read_run({**TRAIN, "dataset": "unknown"}, tmp_path / "train.yaml", ["data"])
    assert "data" not in run.options


def test_what_a_flag_goes_over_has_no_note(tmp_path):
    content = {**TRAIN, "val_size": 0.1, "eval_dataset": "other"}
    run = read_run(content, tmp_path / "train.yaml", ["data", "template", "validation"])
    assert run.notes == ()
    (said, *_) = read_run(content, tmp_path / "train.yaml", ["data"]).notes
    assert said == "its eval_dataset is not looked up beside --data; give --validation"


def test_a_registry_that_is_no_json_is_told(read, tmp_path):
    read()
    (tmp_path / "sets" / "dataset_info.json").write_text('{"mine": {"file_name": "mine.json",}}')
    with pytest.raises(UsageError, match=r"dataset_info\.json: is no JSON \("):
        read_run(TRAIN, tmp_path / "train.yaml")


def test_fields_that_the_registry_does_not_name_are_not_read(read):
    record = {"instruction": "a", "output": "b", "history": [["c", "d"]], "system": "e"}
    Path(read.data).write_text(json.dumps([record]))
    assert read().options["columns"] == {"instruction": "instruction", "output": "output"}


@pytest.mark.parametrize(
    ("said", "entry", "most"),
    [
        ({"max_samples": 100}, {}, 100),
        ({}, {"num_samples": 7}, 7),
        ({"max_samples": 5}, {"num_samples": 7}, 5),
    ],
)
def test_how_many_records_it_takes_is_known(read, said, entry, most):
    assert read(entry, **said).most == (most,)


@pytest.mark.parametrize(
    ("said", "packed"),
    [
        ({}, False),
        ({"packing": True}, True),
        ({"stage": "pt"}, True),
        ({"stage": "pt", "packing": False}, False),
    ],
)
def test_whether_it_packs_is_known(read, said, packed):
    assert read(**said).packed is packed
