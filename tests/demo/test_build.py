"""The demo's model: built alike from its seed, and as good as its record says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from loratune.demo import data_path, model_path
from loratune.demo.build import build_model, main
from loratune.demo.logbook import documents
from loratune.demo.pretrain import batches, held_out_loss, learning_rate
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(model_path())


@pytest.fixture(scope="module")
def record():
    return json.loads((model_path() / "BUILD.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_seed_gives_the_same_model_twice_and_another_seed_another(tmp_path):
    built = {
        name: build_model(tmp_path / name, seed=seed, steps=3)
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    }
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "BUILD.json"):
        assert (built["one"] / name).read_bytes() == (built["again"] / name).read_bytes()
    weights = "model.safetensors"
    assert (built["one"] / weights).read_bytes() != (built["other"] / weights).read_bytes()


def test_training_learns(tmp_path):
    losses = [
        json.loads((build_model(tmp_path, seed=0, steps=steps) / "BUILD.json").read_text())["held_out_loss"]
        for steps in (1, 8)
    ]
    assert losses[1] < losses[0] - 0.5


def test_the_shipped_model_has_the_loss_that_its_record_states(tokenizer, record):
    model = AutoModelForCausalLM.from_pretrained(model_path())
    texts = documents(record["seed"], "held-out")
    loss = held_out_loss(model, batches(tokenizer.backend_tokenizer, texts), record["held_out_batches"])
    assert loss == pytest.approx(record["held_out_loss"], rel=1e-4)
    assert model.num_parameters() == record["parameters"]


def test_the_tokenizer_that_the_seed_gives_is_the_shipped_one(tmp_path, record):
    folder = build_model(tmp_path, seed=record["seed"], steps=1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (model_path() / name).read_bytes()
    built, shipped = (json.loads((of / "config.json").read_text()) for of in (folder, model_path()))
    # Which Transformers wrote it is no part of the model.
    assert built.pop("transformers_version")
    assert shipped.pop("transformers_version")
    assert built == shipped


def test_the_whole_demo_is_small():
    files = [*model_path().iterdir(), data_path()]
    assert sum(file.stat().st_size for file in files) < 2_000_000


def test_the_special_tokens_are_four_different_ones(tokenizer):
    model = AutoModelForCausalLM.from_pretrained(model_path())
    ids = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert ids == (model.config.pad_token_id, model.config.bos_token_id, model.config.eos_token_id)
    assert len({*ids, tokenizer.convert_tokens_to_ids("<|assistant|>")}) == 4


@pytest.mark.parametrize(
    "text", ["At 07:40 the ketch Marigold left.", "Zoë: “naïve” – 漢字 🙂\n\tend  ", " 1 12 123"]
)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_the_chat_template_marks_what_the_assistant_says(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Which flag?"},
        {"role": "assistant", "content": "flag / red"},
    ]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == (
        "<|begin|><|system|>Be brief.<|end|><|user|>Which flag?<|end|><|assistant|>flag / red<|end|>"
    )
    rendered = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    said = [
        token for token, mask in zip(rendered["input_ids"], rendered["assistant_masks"], strict=True) if mask
    ]
    assert tokenizer.decode(said) == "flag / red<|end|>"
    prompt = tokenizer.apply_chat_template(messages[:2], add_generation_prompt=True, tokenize=False)
    assert tokenizer.apply_chat_template(messages, tokenize=False).startswith(prompt)


def test_an_unknown_role_is_refused(tokenizer):
    with pytest.raises(Exception, match="not robot"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "beep"}], tokenize=False)


def test_the_examples_are_short(tokenizer):
    lengths = []
    for line in data_path().read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        messages = [
            {"role": "user", "content": f"{record['instruction']}\n{record['input']}"},
            {"role": "assistant", "content": record["output"]},
        ]
        lengths.append(len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]))
    lengths.sort()
    assert lengths[-1] <= 96
    assert lengths[len(lengths) // 2] <= 48


def test_the_rate_warms_up_and_falls_to_a_tenth():
    rates = [learning_rate(step, 1000) for step in range(1000)]
    assert rates[0] < rates[50] < rates[99] == max(rates)
    assert rates[-1] == pytest.approx(0.1 * max(rates), rel=1e-3)


def test_data_only_builds_no_model(tmp_path, capsys):
    main(["--out", str(tmp_path), "--data-only"])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert "harbour.jsonl" in capsys.readouterr().out


def test_the_paths_are_known_without_loading_torch():
    code = (
        "import sys; from loratune.demo import model_path, data_path;"
        " assert model_path().is_dir() and data_path().is_file(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
