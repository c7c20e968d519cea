"""What a config file says reaches the options, and what is wrong with it is named by file and field."""

from pathlib import Path

import pytest
from loratune.app.config_file import read_config
from loratune.errors import UsageError
from loratune.study.samplers import SAMPLERS

WHOLE_FILE = """
model: Qwen/Qwen3-0.6B
data: train.jsonl
trials: 24
space: tiny
set:
  learning_rate: 1e-5..2e-3:log
  lora_rank: [8, 16]
  lora_alpha_ratio: {low: 0.5, high: 4}
eval-examples: 100
cutoff_len: 512
workers: auto
slots: 4
timeout: 1e3
sampler: random
gradient_checkpointing: true
enqueue:
  - {learning_rate: 1e-4, batch_size: 8, lora_rank: 8, lora_alpha: 16}
"""


def said(path):
    """Return what a file says, whoever's option it is."""
    search, run, _ = read_config(path)
    return {**search.model_dump(exclude_unset=True), **run.model_dump(exclude_unset=True)}


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "search.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_gives_what_it_says_and_nothing_else(config):
    assert said(config(WHOLE_FILE)) == {
        "model": "Qwen/Qwen3-0.6B",
        "data": "train.jsonl",
        "trials": 24,
        "space": "tiny",
        "set": {
            "learning_rate": "1e-5..2e-3:log",
            "lora_rank": [8, 16],
            "lora_alpha_ratio": {"low": 0.5, "high": 4},
        },
        "eval_examples": 100,
        "cutoff_len": 512,
        "workers": "auto",
        "slots": 4,
        "timeout": 1000.0,
        "sampler": "random",
        "gradient_checkpointing": True,
        "enqueue": [{"learning_rate": "1e-4", "batch_size": 8, "lora_rank": 8, "lora_alpha": 16}],
    }


def test_a_key_left_blank_is_a_key_left_out(config):
    assert said(config("study:\ntrials: 3\n")) == {"trials": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "val_size: 0.1",
            "val_size: is not known here; "
            "here it is validation: FILE, without it 15 % of the data is held out",
        ),
        (
            "num-train-epochs: 3",
            "num_train_epochs: is not known here; here it is examples: N, the training examples of a trial",
        ),
        ("trails: 5", "trails: is not known here (did you mean 'trials'?)"),
        ("lora_rank: 8", "lora_rank: is a parameter; write it under set:, as set: {lora_rank: …}"),
        ("take-over: true", "take_over: belongs to one run; give it as a flag"),
        ("trials: 0", "trials: 0 is less than 1"),
        ("trials: true", "trials: True is not a whole number"),
        ("trials: '5'", "trials: '5' is not a whole number"),
        ("slots: 0", "slots: 0 is neither 'auto' nor a whole number from 1 to 4096"),
        ("workers: many", "workers: 'many' is neither 'auto' nor a whole number from 1 to 1024"),
        ("timeout: .nan", "timeout: nan is not a finite number"),
        ("timeout: -1", "timeout: -1 is not above 0.0"),
        (
            "sampler: tpee",
            f"sampler: 'tpee' is not one of {', '.join(map(repr, SAMPLERS.names))} (did you mean 'tpe'?)",
        ),
        ("set: 5", "set: 5 is not a mapping of names to values"),
        ("enqueue: [5]", "enqueue.0: 5 is not a mapping of names to values"),
        ("seed: -1", "seed: -1 is less than 0"),
        ("cutoff_len: 1", "cutoff_len: 1 is less than 2"),
        ("model: 5", "model: 5 is not a text; put it in quotes"),
        ("model: ''", "model: '' is empty"),
        ("trust_remote_code: 1", "trust_remote_code: 1 is neither true nor false"),
        ("debug: true", "debug: belongs to one run; give it as a flag"),
        (
            "eval_examples: 5\neval-examples: 6",
            "eval_examples: is given twice, with hyphens and with underscores",
        ),
        ("trials: [", "line 1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("trials: 2024-99-99", "not valid YAML: month must be in 1..12"),
        ("x: &a [*a]", "x: is not known here"),
        ("? [1]\n: 2", "line 1: not valid YAML: found unhashable key"),
    ],
)
def test_a_wrong_setting_is_refused_by_file_and_field(config, text, message):
    path = config(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("set: {lora_rank: 0}", "set.lora_rank: 0 is not a whole number from 1 to 65536"),
        (
            "set: {lora_rnk: 8}",
            "set.'lora_rnk': not a parameter that can be searched (did you mean 'lora_rank'?)",
        ),
        (
            "enqueue: [{learning_rate: 1, batch_size: 8, lora_rank: 8}]",
            "enqueue.0.lora_alpha: has no value; a configuration needs lora_alpha",
        ),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_path(config, text, message):
    path = config(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml: cannot be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text",
    [
        *(f"{name}: 1{30 * '0'}" for name in ("trials", "examples", "eval_examples", "cutoff_len")),
        *(f"{name}: 1{30 * '0'}" for name in ("keep_adapters", "seed", "slots", "workers")),
        "timeout: 1e300",
        "max_grad_norm: 1e300",
        "timeout: .inf",
        "max_grad_norm: .nan",
    ],
)
def test_a_number_without_measure_is_refused_by_its_field(config, text):
    with pytest.raises(UsageError) as caught:
        read_config(config(text))
    assert f": {text.partition(':')[0]}: " in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(("text", "what"), [("", "is empty"), ("- 8", "holds [8]")])
def test_a_file_without_options_is_told_a_line_that_such_a_file_takes(
    text: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    said, _, example = str(caught.value).partition("; write lines such as ")
    assert said == f"{path}: {what}"
    path.write_text(example.strip("'"))
    assert read_config(path)[0].trials == 24
