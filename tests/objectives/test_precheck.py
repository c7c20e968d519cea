"""What is wrong is said before a worker is started, in the worker's own words."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loratune.errors import BudgetError, DataError, LoratuneError, ModelError
from loratune.objectives import quantization
from loratune.objectives.precheck import precheck
from loratune.objectives.training.preparation import prepare
from loratune.study.config import DataConfig, DataFile, ModelConfig, ObjectiveConfig


@pytest.fixture
def config(tiny_model: Path, tiny_data: Path) -> ObjectiveConfig:
    return ObjectiveConfig(
        model=ModelConfig(name_or_path=str(tiny_model), device="cpu"),
        data=DataConfig(train=str(tiny_data)),
        batch_sizes=(4, 8),
        lora_ranks=(8,),
        lora_targets=("all", "q_proj,v_proj"),
        slots=1,
    )


def _complaint(check: Callable[[ObjectiveConfig], Any], config: ObjectiveConfig) -> tuple[type, str]:
    with pytest.raises(LoratuneError) as caught:
        check(config)
    assert "\n" not in str(caught.value)
    return type(caught.value), str(caught.value)


def _with_data(config: ObjectiveConfig, **changes: Any) -> ObjectiveConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


def _file(folder: Path, content: str | bytes, name: str = "train.jsonl") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_a_base_that_cannot_be_quantized_is_told_before_a_worker_starts(
    config: ObjectiveConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "LIBRARY", "no-such-library")
    model = dataclasses.replace(config.model, quantization_bit=4)
    kind, said = _complaint(precheck, dataclasses.replace(config, model=model))
    assert kind is ModelError
    assert "pip install 'loratune[quantized]'" in said


def _lines(records: list[Any]) -> str:
    return "\n".join(json.dumps(record) for record in records)


def another_encoding(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, _lines([{"text": "x"}]).encode() + b'\n{"text": "f\xfcr"}'))


def unknown_fields(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, _lines([{"original": "a", "other": "b"}] * 9)))


def all_records_bad(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, _lines([{"instruction": "a", "output": ""}] * 9)))


def no_line_is_json(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, "one\ntwo\n"))


def a_broken_list(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, '[{"text": "a"}, {"text": "b"', "train.json"))


def no_parquet(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, "PAR1 no", "train.parquet"))


def a_label_unused(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, "text,label\na,b\nc,d\n", "train.csv"))


def no_such_column(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    train = _file(folder, "text,label\na,b\nc,d\n", "train.csv")
    return _with_data(config, train=train, columns=("prompt=text", "completion=lable"))


def a_missing_file(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=str(folder / "nothing.jsonl"))


def an_unknown_template(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, template="chatlm")


def too_few(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    records = [{"instruction": str(number), "output": "a"} for number in range(30)]
    return _with_data(config, train=_file(folder, _lines([*records, {"instruction": "x"}])))


def two_lines_of_which_one_is_broken(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, _lines([{"text": "a"}]) + '\n{"text": "b'))


def too_few_to_split(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, train=_file(folder, _lines([{"text": "a"}] * 9)))


def the_same_in_both_files(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _with_data(config, validation=config.data.train)


def too_small_a_budget(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return dataclasses.replace(config, examples=16)


def an_unknown_layer(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return dataclasses.replace(config, lora_targets=("q_proj,v_porj",))


def _model(config: ObjectiveConfig, name: str | Path) -> ObjectiveConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, name_or_path=str(name)))


def a_model_without(name: str, config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    shutil.copytree(config.model.name_or_path, folder / "model")
    (folder / "model" / name).unlink()
    return _model(config, folder / "model")


def no_weights(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return a_model_without("model.safetensors", config, folder)


def no_tokenizer(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return a_model_without("tokenizer.json", config, folder)


def no_config(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return a_model_without("config.json", config, folder)


def a_folder_without_a_slash(config: ObjectiveConfig, folder: Path) -> ObjectiveConfig:
    return _model(config, "tinny-model")


WRONG: dict[Callable[[ObjectiveConfig, Path], ObjectiveConfig], tuple[type, str]] = {
    another_encoding: (DataError, "line 2"),
    unknown_fields: (DataError, "none of the known formats"),
    all_records_bad: (DataError, "no usable record among 9; the first, line 1: 'output' is empty"),
    no_line_is_json: (DataError, "no usable record among 2"),
    a_broken_list: (DataError, "not valid JSON"),
    no_parquet: (DataError, "no readable Parquet"),
    a_label_unused: (DataError, "--columns prompt=text,completion=label"),
    no_such_column: (DataError, "did you mean 'label'?"),
    a_missing_file: (DataError, "there is no data file"),
    two_lines_of_which_one_is_broken: (
        DataError,
        "; 1 record was left out, the first train.jsonl:2: ",
    ),
    an_unknown_template: (DataError, "did you mean 'chatml'?"),
    too_few: (BudgetError, "22 training examples are too few"),
    too_few_to_split: (DataError, "1 distinct example cannot be split"),
    the_same_in_both_files: (DataError, "is also in another file"),
    too_small_a_budget: (BudgetError, "--set batch_size="),
    an_unknown_layer: (ModelError, "did you mean 'v_proj'?"),
    no_weights: (ModelError, "no weights"),
    no_tokenizer: (ModelError, "no tokenizer"),
    no_config: (ModelError, "no config.json"),
    a_folder_without_a_slash: (ModelError, "there is no such folder"),
}
"""By what is wrong, the kind of error and some of its words."""


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_it_says_what_the_worker_would(
    config: ObjectiveConfig, tmp_path: Path, spoil: Callable[[ObjectiveConfig, Path], ObjectiveConfig]
) -> None:
    spoiled = spoil(config, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    kind, words = _complaint(precheck, spoiled)
    assert kind is WRONG[spoil][0]
    assert WRONG[spoil][1] in words
    assert (kind, words) == _complaint(prepare, spoiled)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_right_passes(config: ObjectiveConfig) -> None:
    precheck(config)


def test_a_file_that_takes_too_long_is_left_to_the_worker(config: ObjectiveConfig, tmp_path: Path) -> None:
    records = [{"instruction": str(number), "output": ""} for number in range(1000)]
    bad = _with_data(config, train=_file(tmp_path, _lines(records)))
    precheck(bad, seconds=0)
    with pytest.raises(DataError, match="no usable record"):
        precheck(bad)
    # A table's columns are known from its first row, however long it is.
    table = _with_data(config, train=_file(tmp_path, "text,label\n" + "a,b\n" * 1000, "train.csv"))
    with pytest.raises(DataError, match="'label' looks like a label"):
        precheck(table, seconds=0)


def test_batch_sizes_that_are_not_final_are_not_held_against_the_data(
    config: ObjectiveConfig, tmp_path: Path
) -> None:
    precheck(too_few(config, tmp_path), sized=False)
    with pytest.raises(BudgetError):
        precheck(too_few(config, tmp_path))


def test_a_mistyped_folder_is_told_its_neighbour(
    config: ObjectiveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("my-modle", "./my-modle", str(tmp_path / "my-modle")):
        with pytest.raises(ModelError, match=r"there is no such folder \(did you mean 'my-model'\?\)"):
            precheck(_model(config, name))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "models/stores",
            r"no such folder \(did you mean 'stories260K'\?\), looked .*; .* run `hf download models/stores`",
        ),
        ("models/none/such", r"there is no such folder, nor models/none, looked for in /.*; give"),
        (
            "./modls/x",
            r"there is no such folder, nor modls \(did you mean 'models'\?\), looked for in /.*; give",
        ),
        (
            "modls/deep/x",
            r"there is no such folder, nor modls \(did you mean 'models'\?\), looked for in /.*; give",
        ),
        ("m" * 300, "there is no such folder, looked for in /.*; give"),
        ("./" + "m" * 300, "there is no such folder, looked for in /.*; give"),
    ],
)
def test_what_is_a_path_is_never_asked_of_the_hub(
    config: ObjectiveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (tmp_path / "models" / "stories260K").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loratune.objectives.precheck.check_hub", lambda _: pytest.fail("the Hub was asked"))
    with pytest.raises(ModelError, match=said):
        precheck(_model(config, name))


def test_a_model_of_the_cache_may_have_a_folder_of_its_owner_beside_it(
    config: ObjectiveConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "cache" / "models--org--tiny" / "snapshots" / "0").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    asked = []
    monkeypatch.setattr("loratune.objectives.precheck.check_hub", asked.append)
    precheck(_model(config, "org/tiny"))
    assert [model.name_or_path for model in asked] == ["org/tiny"]


def test_a_layer_s_full_name_is_known_with_and_without_the_model_s_prefix(config: ObjectiveConfig) -> None:
    for name in ("model.layers.0.self_attn.q_proj", "self_attn.q_proj", "layers.1.mlp.up_proj"):
        precheck(dataclasses.replace(config, lora_targets=(name,)))


def test_layers_of_an_architecture_that_renames_them_are_left_to_the_worker(
    config: ObjectiveConfig, tmp_path: Path
) -> None:
    shutil.copytree(config.model.name_or_path, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "mixtral"}))
    precheck(an_unknown_layer(_model(config, tmp_path / "model"), tmp_path))


@pytest.mark.parametrize(
    "content",
    ["", "no json\n", '{"text": "all of it"}\n', '{"instruction": "q", "output": "a", "label": "b"}\n'],
)
def test_what_is_wrong_with_one_of_several_files_is_said_as_the_worker_says_it(
    config: ObjectiveConfig, tmp_path: Path, content: str
) -> None:
    more = (DataFile(path=_file(tmp_path, content, "second.jsonl")),)
    kind, said = _complaint(precheck, _with_data(config, more=more))
    assert kind is DataError
    assert "second.jsonl" in said
    assert (kind, said) == _complaint(prepare, _with_data(config, more=more))


def test_several_files_are_counted_together(config: ObjectiveConfig, tmp_path: Path) -> None:
    few = _lines([{"instruction": f"q{n}", "output": "a"} for n in range(6)])
    tiny = _with_data(config, train=_file(tmp_path, few, "few.jsonl"))
    kind, _ = _complaint(precheck, tiny)
    assert kind is BudgetError
    precheck(_with_data(tiny, more=(DataFile(path=config.data.train),)))
