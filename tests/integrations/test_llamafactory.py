import csv
import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations import llamafactory as exporter
from loratune.integrations.data_columns import WORDS, columns_of
from loratune.spaces.params import LoraParams
from loratune.study.facts import ColumnUse, Endings
from made_up_studies import with_facts

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "llama_factory"
RECORDS = {
    "alpaca": {"instruction": "Say", "input": "it", "output": "again"},
    "sharegpt": {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
    "messages": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    "prompt_completion": {"prompt": "a", "completion": "b"},
    "text": {"text": "a b c"},
}


def llamafactory(view, number, folder):
    return exporter.llamafactory(handover(view, number), folder)


def export_llamafactory(view, number, path, **options):
    return exporter.export(handover(view, number), path, **options).written


def params(**changes):
    values = {
        "learning_rate": 0.002,
        "batch_size": 16,
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "warmup_ratio": 0.05,
    }
    return LoraParams(**{**values, **changes})


@pytest.fixture
def study(make_view, tmp_path):
    """A study on a data file of a format."""

    def make(kind="alpaca", record=None, trial=None, **more):
        file = tmp_path / "data" / "train.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(record or RECORDS[kind]) + "\n", encoding="utf-8")
        config = {"train": str(file), **more.pop("config", {})}
        data = {"format": kind, **more.pop("data", {})}
        return make_view(1, params={0: trial or params()}, config=config, data=data, **more)

    return make


def test_the_values_of_the_trial_are_in_the_yaml(study, tmp_path):
    path, registry = export_llamafactory(study(), None, tmp_path / "out" / "train.yaml")
    loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert loaded["learning_rate"] == 0.002
    assert loaded["lora_rank"] == 8
    assert loaded["lora_alpha"] == 16
    assert loaded["per_device_train_batch_size"] * loaded["gradient_accumulation_steps"] == 16
    assert loaded["cutoff_len"] == 512  # what the data was cut at, not the 1024 that were allowed
    assert loaded["stage"] == "sft"
    assert loaded["finetuning_type"] == "lora"
    assert loaded["template"] == "chatml"
    assert loaded["dataset_dir"] == str(tmp_path / "out")
    assert loaded["dataset"] in json.loads(registry.read_text(encoding="utf-8"))
    assert "bf16" not in loaded


def test_the_examples_that_are_held_out_are_rounded_up_as_the_trainer_does(study):
    view = with_facts(study(), "data", train=5028, validation=1077, test=1077)
    notes = " ".join(llamafactory(view, None, Path("out")).notes)
    assert "a run of 3 epochs of 6,104 examples" in notes  # 7182 less 1078


def test_warm_up_is_a_whole_number_of_the_full_runs_steps(study):
    found = llamafactory(study(), None, Path("out")).arguments
    train = 4000 - 600
    steps = 3 * -(-train // 16)
    assert found["val_size"] == 0.15
    assert found["warmup_steps"] == -(-steps * 5 // 100)
    assert isinstance(found["warmup_steps"], int)
    assert "warmup_ratio" not in found


def test_floats_are_written_so_that_yaml_1_1_reads_floats(study, tmp_path):
    view = study(trial=params(learning_rate=1e-3))
    view = dataclasses.replace(
        view, trials=(dataclasses.replace(view.trials[0], params=params(learning_rate=1e-5)),)
    )
    path, _ = export_llamafactory(view, 0, tmp_path / "train.yaml")
    assert "learning_rate: 1.0e-05" in path.read_text(encoding="utf-8")
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["learning_rate"] == 1e-5


def test_the_comments_say_what_the_config_was_selected_on(study):
    text = llamafactory(study(), None, Path("out")).text
    head = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("#")
    assert any("Selected after 1,536 training examples" in line for line in head)
    assert any("runs high" in line for line in head)
    assert any("on N devices divide gradient_accumulation_steps by N" in line for line in head)


def test_an_alpha_that_is_not_whole_is_kept_and_said(study):
    exact = llamafactory(study(trial=params(lora_alpha=18.96)), None, Path("out"))
    assert exact.arguments["lora_alpha"] == 18.96
    assert "lora_alpha is not a whole number" in exact.text
    whole = llamafactory(study(), None, Path("out"))
    assert whole.arguments["lora_alpha"] == 16
    assert isinstance(whole.arguments["lora_alpha"], int)
    assert "not a whole number" not in whole.text


def test_a_fraction_in_a_field_declared_whole_passes_the_parser_that_llamafactory_uses():
    from transformers import HfArgumentParser

    lora = dataclasses.make_dataclass("Lora", [("lora_alpha", int | None, None)])
    (parsed,) = HfArgumentParser(lora).parse_dict({"lora_alpha": 18.96})
    assert parsed.lora_alpha == 18.96


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        ("alpaca", {"columns": {"prompt": "instruction", "query": "input", "response": "output"}}),
        ("sharegpt", {"formatting": "sharegpt", "columns": {"messages": "conversations"}}),
        ("messages", {"formatting": "sharegpt", "columns": {"messages": "messages"}}),
        ("prompt_completion", {"columns": {"prompt": "prompt", "response": "completion"}}),
        ("text", {"columns": {"prompt": "text"}}),
    ],
)
def test_the_entry_lists_the_columns_that_the_file_has(study, kind, entry):
    found = llamafactory(study(kind), None, Path("out"))
    stored = found.datasets["loratune_demo"]
    assert Path(stored.pop("file_name")).is_absolute()
    tags = stored.pop("tags", None)
    assert stored == entry
    assert (tags is not None) == (kind == "messages")
    assert found.arguments["stage"] == ("pt" if kind == "text" else "sft")


def test_the_entry_names_the_columns_that_the_user_named(study):
    record = {
        "instruction": "Say",
        "question": "Which?",
        "reply": "This.",
        "output": "That.",
        "system": "No.",
    }
    given = {"config": {"columns": ["prompt=question", "completion=reply"]}}
    found = llamafactory(study("prompt_completion", record=record, **given), None, Path("out"))
    assert found.datasets["loratune_demo"]["columns"] == {"prompt": "question", "response": "reply"}


def test_the_entry_names_the_columns_that_a_file_of_other_names_was_read_by(study):
    uses = [
        ColumnUse(file="train.jsonl", name=name, used_as=used_as)
        for name, used_as in (("id", ""), ("Question", "prompt"), ("answer", "answer"))
    ]
    record = {"id": 1, "Question": "Which?", "answer": "This."}
    found = llamafactory(study("prompt_completion", record=record, data={"columns": uses}), None, Path("out"))
    assert found.datasets["loratune_demo"]["columns"] == {"prompt": "Question", "response": "answer"}
    uses = [
        ColumnUse(file="train.jsonl", name=name, used_as=used_as)
        for name, used_as in (("Input", "prompt"), ("Instruction", "prompt"), ("Response", "answer"))
    ]
    record = {"Input": "it", "Instruction": "Say", "Response": "again"}
    found = llamafactory(study("alpaca", record=record, data={"columns": uses}), None, Path("out"))
    assert found.datasets["loratune_demo"]["columns"] == {
        "prompt": "Instruction",
        "query": "Input",
        "response": "Response",
    }


def test_what_columns_are_used_as_is_said_in_the_words_of_who_reads_them():
    from loratune.objectives.data.columns import USES

    assert {field: USES[field] for field in WORDS} == WORDS


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (["prompt=text", "prompt=more", "completion=label"], "joined 'text', 'more' as prompt"),
        (["prompt=text", "completion=label"], "the column 'label' holds numbers"),
        (["prompt=turns", "completion=text"], "prompts that are lists of messages"),
    ],
)
def test_columns_that_it_would_read_otherwise_are_refused(study, columns, words):
    record = {"text": "a", "more": "b", "label": 1, "turns": [{"role": "user", "content": "a"}]}
    view = study("prompt_completion", record=record, config={"columns": columns})
    with pytest.raises(ReportError, match=words):
        llamafactory(view, None, Path("out"))


def test_system_history_and_tools_are_listed_where_a_record_has_them(study):
    record = {**RECORDS["alpaca"], "system": "Be kind", "history": [["a", "b"]]}
    columns = llamafactory(study(record=record), None, Path("out")).datasets["loratune_demo"]["columns"]
    assert columns["system"] == "system"
    assert columns["history"] == "history"
    assert "tools" not in columns


def test_a_file_that_is_gone_gets_the_columns_that_it_must_have_had(make_view):
    found = llamafactory(make_view(1, params={0: params()}), None, Path("out"))
    assert found.datasets["loratune_demo"]["columns"] == {"prompt": "instruction", "response": "output"}


def test_prompts_that_are_messages_are_refused(study):
    record = {
        "prompt": [{"role": "user", "content": "a"}],
        "completion": [{"role": "assistant", "content": "b"}],
    }
    with pytest.raises(ReportError, match="cannot be read by LLaMA-Factory"):
        llamafactory(study("prompt_completion", record=record), None, Path("out"))


def test_a_validation_file_becomes_the_eval_dataset(study, tmp_path):
    found = llamafactory(study(config={"validation": str(tmp_path / "v.jsonl")}), None, Path("out"))
    assert found.arguments["eval_dataset"] == "loratune_demo_validation"
    assert "val_size" not in found.arguments
    assert set(found.datasets) == {"loratune_demo", "loratune_demo_validation"}


def test_the_models_own_template_is_left_to_the_tokenizer_and_said(study):
    found = llamafactory(study(data={"template": "model's own"}), None, Path("out"))
    assert "template" not in found.arguments
    assert "own chat template" in found.text


@pytest.mark.parametrize(("dtype", "key"), [("bfloat16", "bf16"), ("float16", "fp16")])
def test_half_precision_is_passed_on(study, dtype, key):
    view = with_facts(study(), "geometry", dtype=dtype)
    assert llamafactory(view, None, Path("out")).arguments[key] is True


def test_entries_of_others_are_kept_and_ours_replaced(study, tmp_path):
    registry = tmp_path / "dataset_info.json"
    registry.write_text(json.dumps({"identity": {"file_name": "identity.json"}, "loratune_demo": {}}))
    made = exporter.export(handover(study(), None), tmp_path / "train.yaml")
    assert made.written == (tmp_path / "train.yaml",)
    assert made.notes == (f"loratune_demo added to {registry}; what else it holds was kept.",)
    stored = json.loads(registry.read_text(encoding="utf-8"))
    assert stored["identity"] == {"file_name": "identity.json"}
    assert stored["loratune_demo"]["columns"]


def test_a_broken_registry_is_left_alone(study, tmp_path):
    registry = tmp_path / "dataset_info.json"
    registry.write_text('{"identity": ')
    with pytest.raises(ReportError, match="is not readable JSON"):
        export_llamafactory(study(), None, tmp_path / "train.yaml")
    assert registry.read_text() == '{"identity": '
    assert not (tmp_path / "train.yaml").exists()


def test_json_is_refused_since_llamafactory_fails_on_it(study, tmp_path):
    with pytest.raises(ReportError, match=r"reads a \.yaml file"):
        export_llamafactory(study(), None, tmp_path / "train.json")


@pytest.mark.skipif(
    not SHARED.exists(), reason="needs LLaMA-Factory's list of arguments beside the repository"
)
@pytest.mark.parametrize("kind", RECORDS)
def test_every_key_is_one_that_llamafactory_knows(study, tmp_path, kind):
    own = {
        item["name"]: item["type"] for item in json.loads((SHARED / "reference" / "args.json").read_text())
    }
    trainer = json.loads((SHARED / "reference" / "hf_training_args_5.23.0.json").read_text())
    known = {**{item["name"]: item["type"] for item in trainer}, **own}
    view = study(
        kind,
        config={"validation": str(tmp_path / "v.jsonl")} if kind == "messages" else {},
        model={"name_or_path": "org/model", "revision": "abc", "trust_remote_code": True},
    )
    chosen = params(loraplus_lr_ratio=4.0, lora_dropout=0.05, weight_decay=0.01, use_rslora=True)
    view = with_facts(view, "geometry", dtype="bfloat16")
    view = dataclasses.replace(view, trials=(dataclasses.replace(view.trials[0], params=chosen),))
    found = llamafactory(view, None, Path("out")).arguments
    assert set(found) - set(known) == set()
    assert found["use_rslora"] is True
    kinds = {"int": int, "float": float, "bool": bool, "str": str}
    for name, value in found.items():
        declared = re.findall(r"int|float|bool|str", known[name])
        if declared:
            allowed = tuple(kinds[kind] for kind in declared)
            assert isinstance(value, allowed) or (float in allowed and isinstance(value, int)), name


@pytest.mark.parametrize("kind", RECORDS)
def test_llamafactorys_own_parser_takes_it(study, tmp_path, kind):
    """Only where LLaMA-Factory is installed: it is no dependency."""
    hparams = pytest.importorskip("llamafactory.hparams")
    chosen = params(loraplus_lr_ratio=4.0, lora_dropout=0.05, use_rslora=True, lora_alpha=24.5)
    view = study(kind)
    view = dataclasses.replace(view, trials=(dataclasses.replace(view.trials[0], params=chosen),))
    path, _ = export_llamafactory(view, None, tmp_path / "train.yaml")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    out = {"output_dir": str(tmp_path / "out")}
    model, data, training, finetuning, _generating = hparams.get_train_args(values | out)
    assert (finetuning.lora_rank, finetuning.lora_alpha, finetuning.use_rslora) == (8, 24.5, True)
    assert (finetuning.loraplus_lr_ratio, finetuning.lora_dropout) == (4.0, 0.05)
    assert (training.learning_rate, training.warmup_steps) == (0.002, values["warmup_steps"])
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps == 16
    assert (data.cutoff_len, model.model_name_or_path) == (512, values["model_name_or_path"])


@pytest.mark.skipif(not SHARED.exists(), reason="needs LLaMA-Factory's own registry beside the repository")
def test_entries_are_written_as_in_llamafactorys_own_registry(study):
    registry = json.loads((SHARED / "dataset_info.json").read_text(encoding="utf-8"))
    keys = {key for entry in registry.values() for key in entry}
    columns = {key for entry in registry.values() for key in entry.get("columns", {})} | {"query", "history"}
    tags = {key for entry in registry.values() for key in entry.get("tags", {})} | {"observation_tag"}
    for kind in RECORDS:
        entry = llamafactory(study(kind), None, Path("out")).datasets["loratune_demo"]
        assert set(entry) <= keys
        assert set(entry["columns"]) <= columns
        assert set(entry.get("tags", {})) <= tags


@pytest.mark.parametrize(
    ("template", "said"), [("default", (1, 1)), ("plain", (0, 1)), ("model's own", (1, 0))]
)
def test_what_it_reads_otherwise_than_the_study_is_said(study, template, said):
    notes = " ".join(llamafactory(study(data={"template": template}), None, Path("out")).notes)
    assert (notes.count("takes the loss also on"), notes.count("no beginning of a sequence")) == said


def test_columns_are_found_in_every_kind_of_file(tmp_path):
    records = [{"a": None}, {"a": 1, "b": [2]}]
    (tmp_path / "x.jsonl").write_text(
        "\ufeff" + "\n".join(map(json.dumps, records)) + "\n{broken", encoding="utf-8"
    )
    (tmp_path / "x.json").write_text(json.dumps(records))
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b"], ["1", "line\nbreak"]])
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": [1], "b": [2]}), tmp_path / "x.parquet")
    assert columns_of(tmp_path / "x.jsonl") == {"a": 1, "b": [2]}
    assert columns_of(tmp_path / "x.json") == {"a": 1, "b": [2]}
    assert list(columns_of(tmp_path / "x.csv")) == ["a", "b"]
    assert list(columns_of(tmp_path / "x.parquet")) == ["a", "b"]
    assert columns_of(tmp_path / "gone.jsonl") == {}
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\x00")
    assert columns_of(tmp_path / "x.jsonl") == {}


@pytest.mark.parametrize(
    ("template", "endings", "words"),
    [
        ("default", {"tokens": ("</s>",)}, None),
        ("alpaca", {"tokens": ("</s>",)}, None),
        ("chatml", {"tokens": ("<|im_end|>",)}, None),
        ("chatml", {"tokens": ("</s>",)}, "adds <|im_end|> to the tokenizer as a new token"),
        (
            "plain",
            {"tokens": ("</s>",)},
            "template empty ends no answer, where the study ended each with </s>",
        ),
        ("model's own", {"tokens": ("<|eot|>",)}, None),
        ("model's own", {"tokens": ("</s>",), "added": True}, "the study put an end there (</s>)"),
        ("model's own", {"tokens": ("<|user|>", "</s>")}, "put an end there (<|user|> or </s>)"),
    ],
)
def test_where_llama_factory_ends_answers_otherwise_a_sentence_says_so(study, template, endings, words):
    view = study(data={"format": "alpaca", "template": template, "endings": Endings(**endings)})
    notes = llamafactory(view, None, Path("out")).notes
    found = [
        note for note in notes if any(word in note for word in ("empty ends", "resize_vocab", "an end there"))
    ]
    assert len(found) == (words is not None)
    assert words is None or words in found[0]


def test_a_base_of_few_bits_is_told_as_llama_factory_says_it(study):
    found = {
        bits: llamafactory(study(model={"quantization_bit": bits}), None, Path("out"))
        for bits in (None, 4, 8)
    }
    told = {bits: {k: v for k, v in it.arguments.items() if "quantiz" in k} for bits, it in found.items()}
    assert told == {
        None: {},
        4: {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True},
        8: {"quantization_bit": 8},
    }
    assert ["in 4 bits" in " ".join(found[bits].notes) for bits in (None, 4)] == [False, True]
