"""An adapter folded into the base: the sum, rounded once, in the base's own number type."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from loratune.errors import ModelError
from loratune.objectives.training.merging import fold
from loratune.study.config import ModelConfig
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig
from transformers.pytorch_utils import Conv1D

SCALING = 1.7


def save(folder: Path, kind: str, dtype: torch.dtype) -> Path:
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, n_positions=32)
    else:
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=64,
            tie_word_embeddings=True,
        )
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    model.save_pretrained(folder, max_shard_size="20KB")
    return folder


def matrices(model: torch.nn.Module, ends: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    found = {}
    for name, layer in model.named_modules():
        if name.endswith(ends) and isinstance(layer, torch.nn.Linear | Conv1D):
            out, into = layer.weight.T.shape if isinstance(layer, Conv1D) else layer.weight.shape
            a, b = rng.normal(0, 0.2, (3, into)), rng.normal(0, 0.2, (out, 3))
            found[name] = (a.astype(np.float32), b.astype(np.float32))
    assert found
    return found


@pytest.mark.parametrize(("kind", "ends"), [("llama", ("q_proj", "down_proj")), ("gpt2", ("c_attn", "c_fc"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_each_layer_is_the_sum_rounded_once_and_the_others_are_as_they_were(
    tmp_path: Path, kind: str, ends: tuple[str, ...], dtype: torch.dtype
) -> None:
    base = save(tmp_path / "base", kind, dtype)
    before = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    adapter = matrices(before, ends)
    fold(ModelConfig(name_or_path=str(base)), adapter, SCALING, tmp_path / "model")
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert after.dtype == dtype
    weights = dict(after.named_parameters())
    for name, old in before.named_parameters():
        layer = name.removesuffix(".weight")
        expected = old
        if layer in adapter and name.endswith(".weight"):
            a, b = (torch.from_numpy(one).double() for one in adapter[layer])
            update = SCALING * b @ a
            is_turned = isinstance(before.get_submodule(layer), Conv1D)
            expected = (old.double() + (update.T if is_turned else update)).to(dtype)
            assert not torch.equal(weights[name], old)
        torch.testing.assert_close(weights[name], expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_a_quantized_base_is_refused_in_one_line(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama", torch.float32)
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"is quantized.*take --format peft") as caught:
        fold(ModelConfig(name_or_path=str(base)), {}, 1.0, tmp_path / "model")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_a_layer_that_is_not_there_is_named(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama", torch.float32)
    one = np.zeros((1, 1), dtype=np.float32)
    with pytest.raises(ModelError, match=r"has no layer model\.nowhere"):
        fold(ModelConfig(name_or_path=str(base)), {"model.nowhere": (one, one)}, 1.0, tmp_path / "model")
