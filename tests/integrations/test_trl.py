"""The YAML for ``trl sft --config``: TRL's own keys, and what TRL would do otherwise is said or refused."""

import dataclasses
import json

import pytest
import yaml
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations.trl import export, trl
from loratune.spaces.params import LoraParams
from loratune.study.facts import ColumnUse

RECORDS = {
    "messages": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "text": {"text": "a b c"},
}
SEARCHED = LoraParams(learning_rate=0.002, batch_size=16, lora_rank=8, lora_alpha=16.0, warmup_ratio=0.05)
PARAMS = dataclasses.replace(SEARCHED, lora_dropout=0.1, weight_decay=0.01)

OPTIONS = {
    *("model_name_or_path", "model_revision", "trust_remote_code", "dtype", "use_peft"),
    *("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
    *("datasets", "test_split_size", "dataset_text_field", "assistant_only_loss", "completion_only_loss"),
    *("max_length", "packing", "output_dir", "learning_rate", "weight_decay", "lr_scheduler_type"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "warmup_steps"),
    *("max_grad_norm", "optim", "seed", "logging_steps", "save_strategy", "eval_strategy", "report_to"),
    *("bf16", "fp16", "load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type", "use_bnb_nested_quant"),
}
"""Keys that trl sft knows, of TRL 0.21 to 1.16 as documented."""


@pytest.fixture
def handed(make_view, tmp_path):
    """The best trial of a study on a data file of a format."""

    def make(kind="messages", record=None, params=PARAMS, ending=".jsonl", **more):
        file = tmp_path / f"train{ending}"
        file.write_text(json.dumps(record or RECORDS.get(kind, {})) + "\n", encoding="utf-8")
        config = {"train": str(file), **more.pop("config", {})}
        data = {"format": kind, "template": "model's own", **more.pop("data", {})}
        made = handover(make_view(1, params={0: SEARCHED}, config=config, data=data, **more))
        return dataclasses.replace(made, trial=dataclasses.replace(made.trial, params=params))

    return make


def read(handed):
    return yaml.safe_load(trl(handed))


@pytest.mark.parametrize("kind", RECORDS)
def test_the_values_of_the_trial_are_in_the_yaml_under_trls_names(handed, tmp_path, kind):
    path = tmp_path / "out" / "sft.yaml"
    assert export(handed(kind), path).written == (path,)
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert loaded.keys() <= OPTIONS
    assert loaded["per_device_train_batch_size"] * loaded["gradient_accumulation_steps"] == 16
    assert (loaded["learning_rate"], loaded["weight_decay"], loaded["warmup_steps"]) == (0.002, 0.01, 32)
    assert (loaded["use_peft"], loaded["lora_r"], loaded["lora_alpha"]) == (True, 8, 16)
    assert (loaded["lora_dropout"], loaded["lora_target_modules"]) == (0.1, ["all-linear"])
    assert loaded["max_length"] == 512
    assert loaded["datasets"] == [{"path": "json", "data_files": str(tmp_path / "train.jsonl")}]
    assert (loaded["test_split_size"], loaded["eval_strategy"]) == (0.15, "epoch")
    assert (loaded["dtype"], loaded["bf16"], loaded["fp16"]) == ("float32", False, False)


def test_layers_that_were_named_are_named(handed):
    params = dataclasses.replace(PARAMS, lora_target="q_proj,v_proj")
    assert read(handed(params=params))["lora_target_modules"] == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("messages", {"assistant_only_loss": True}),
        ("prompt_completion", {"completion_only_loss": True}),
        ("text", {"dataset_text_field": "text"}),
    ],
)
def test_the_loss_is_taken_where_the_study_took_it(handed, kind, expected):
    loaded = read(handed(kind))
    said = ("assistant_only_loss", "completion_only_loss", "dataset_text_field")
    assert {key: loaded[key] for key in said if key in loaded} == expected


@pytest.mark.parametrize("kind", ["alpaca", "sharegpt"])
def test_data_that_trl_does_not_read_is_refused(handed, kind):
    with pytest.raises(ReportError, match=f"data format '{kind}' cannot be read by TRL; convert it"):
        trl(handed(kind))


def test_columns_of_other_names_are_refused_but_a_text_may_lie_in_any(handed):
    uses = (
        ColumnUse(file="train.jsonl", name="q", used_as="prompt"),
        ColumnUse(file="train.jsonl", name="a", used_as="answer"),
    )
    with pytest.raises(ReportError, match="the study read 'q' as prompt, and TRL reads 'prompt' and 'comp"):
        trl(handed("prompt_completion", record={"q": "x", "a": "y"}, data={"columns": uses}))
    uses = (ColumnUse(file="train.jsonl", name="body", used_as="text"),)
    assert read(handed("text", record={"body": "x"}, data={"columns": uses}))["dataset_text_field"] == "body"


def test_an_ending_that_trl_cannot_read_is_refused(handed, tmp_path):
    with pytest.raises(ReportError, match=r"TRL reads \.jsonl, \.json, \.csv, \.parquet"):
        trl(handed("text", ending=".txt"))
    with pytest.raises(ReportError, match=r"trl reads a \.yaml file"):
        export(handed("text"), tmp_path / "sft.json")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": {"template": "chatml"}}, "give one that writes the same as chat_template_path"),
        ({"kind": "prompt_completion", "data": {"template": "alpaca"}}, "write the template into the data"),
        ({"params": dataclasses.replace(PARAMS, loraplus_lr_ratio=4.0)}, "4 times the learning rate of A"),
        ({"params": dataclasses.replace(PARAMS, lora_alpha=18.5)}, "lora_alpha is not a whole number: TRL"),
        ({"config": {"validation": "held-out.jsonl"}}, "validation file is not given to it"),
        ({"config": {"encoding": "latin-1"}}, "The data is in latin-1"),
        ({}, "needs a chat template that marks what the assistant says"),
    ],
)
def test_what_trl_does_otherwise_is_said(handed, given, words):
    said = [line for line in trl(handed(**given)).splitlines() if line.startswith("# ")]
    assert any(words in line for line in said), said


def test_rslora_is_handed_on(handed):
    assert "use_rslora" not in read(handed())
    assert read(handed(params=dataclasses.replace(PARAMS, use_rslora=True)))["use_rslora"] is True


def test_plain_prompts_and_the_models_own_template_need_no_warning(handed):
    head = trl(handed("prompt_completion", data={"template": "plain"}))
    assert "template" not in head
    record = {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant"}]}
    assert "template" not in trl(handed("prompt_completion", record=record))


def test_without_a_split_nothing_is_evaluated_and_every_example_is_trained_on(handed):
    one = handed(config={"validation": "held-out.jsonl"})
    loaded = read(one)
    assert "test_split_size" not in loaded
    assert loaded["eval_strategy"] == "no"
    assert loaded["warmup_steps"] == one.run().warmup_steps


@pytest.mark.parametrize(("dtype", "expected"), [("bfloat16", (True, False)), ("float16", (False, True))])
def test_the_number_type_is_always_said_since_trl_has_another_default(handed, dtype, expected):
    view = handed()
    changed = dataclasses.replace(view.study.facts.geometry, dtype=dtype)
    facts = dataclasses.replace(view.study.facts, geometry=changed)
    loaded = read(dataclasses.replace(view, study=dataclasses.replace(view.study, facts=facts)))
    assert (loaded["bf16"], loaded["fp16"]) == expected
    assert loaded["dtype"] == dtype


@pytest.mark.parametrize("kind", RECORDS)
def test_trls_own_parser_takes_it(handed, tmp_path, kind):
    """Only where TRL is installed: it is no dependency."""
    trl_scripts = pytest.importorskip("trl.scripts.sft")
    path = tmp_path / "sft.yaml"
    export(handed(kind), path)
    parser = trl_scripts.make_parser()
    _script, training, model, data, *rest = parser.parse_args_and_config(["--config", str(path)])
    assert not rest
    assert (training.learning_rate, training.max_length) == (0.002, 512)
    assert (model.lora_r, model.lora_alpha, model.lora_target_modules) == (8, 16, "all-linear")
    assert data.datasets[0].data_files == str(tmp_path / "train.jsonl")


def words(handed):
    return " ".join(trl(handed).replace("#", "").split())


def test_a_base_of_few_bits_is_told_as_trl_says_it(handed):
    four, eight = (handed(model={"quantization_bit": bits}) for bits in (4, 8))
    loaded = read(four)
    assert loaded.keys() <= OPTIONS
    assert (loaded["load_in_4bit"], loaded["bnb_4bit_quant_type"]) == (True, "nf4")
    assert loaded["use_bnb_nested_quant"] is True
    assert "trained on the base model in 4 bits" in words(four)
    assert "LLM.int8" not in words(four)
    assert read(eight)["load_in_8bit"] is True
    assert "load_in_4bit" not in read(eight)
    assert "TRL keeps columns with outliers in 16 bits" in words(eight)
    assert not {name for name in read(handed()) if "bit" in name or "bnb" in name}
