"""Which layers carry adapters: as PEFT would choose them, and never the head."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import peft
import pytest
import torch
import transformers
from loratune.errors import ModelError
from loratune.objectives.training.targets import (
    fan_in_fan_out,
    features,
    linear_layers,
    resolve_targets,
    selects,
)
from transformers.pytorch_utils import Conv1D

SHAPE: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "phi3": lambda: transformers.Phi3Config(**SHAPE),
    "mixtral": lambda: transformers.MixtralConfig(**SHAPE, num_local_experts=2),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=32),
    "gemma3 with a vision tower": lambda: transformers.Gemma3Config(
        text_config={**SHAPE, "head_dim": 8},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
    ),
}


def make_model(name: str) -> Any:
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[name]())


def layers_of_peft(model: Any, target: str) -> set[str]:
    config = peft.LoraConfig(
        target_modules="all-linear" if target == "all" else target.split(","),
        task_type="CAUSAL_LM",
        fan_in_fan_out=isinstance(model, transformers.GPT2LMHeadModel),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    prefix = "base_model.model."
    return {
        name.removeprefix(prefix)
        for name, module in wrapped.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("llama", "all"),
        ("llama", "q_proj,v_proj"),
        ("llama", "layers.1.mlp.down_proj"),
        ("phi3", "all"),
        ("mixtral", "q_proj,o_proj"),
        ("gpt2", "all"),
        ("gpt2", "attn.c_proj"),
    ],
)
def test_the_layers_are_those_that_peft_would_take(name: str, target: str) -> None:
    model = make_model(name)
    chosen = resolve_targets(model, [target])
    assert set(chosen) == layers_of_peft(model, target)
    assert {layer for layer, _ in linear_layers(model) if selects(target, layer)} == set(chosen)


@pytest.mark.parametrize("target", ["all", "q_proj,v_proj"])
def test_of_a_multimodal_model_the_decoder_alone_carries_adapters(target: str) -> None:
    model = make_model("gemma3 with a vision tower")
    chosen = resolve_targets(model, [target])
    prefix = "model.language_model."
    assert any(name.endswith("q_proj") for name in layers_of_peft(model, target) - set(chosen))
    assert set(chosen) == {name for name in layers_of_peft(model, target) if name.startswith(prefix)}
    # Full names are what an export gives to PEFT, which then wraps these and no others.
    assert layers_of_peft(model, ",".join(chosen)) == set(chosen)


def test_a_layer_outside_the_decoder_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="'fc1' is no linear layer of Gemma3ForConditionalGeneration"):
        resolve_targets(make_model("gemma3 with a vision tower"), ["fc1"])


def test_layers_come_in_the_models_order_and_once() -> None:
    model = make_model("llama")
    chosen = resolve_targets(model, ["v_proj,q_proj", "q_proj", "down_proj"])
    everything = [name for name, _ in model.named_modules()]
    assert list(chosen) == sorted(chosen, key=everything.index)
    assert len(chosen) == len(set(chosen)) == 6


def test_the_head_is_never_a_target() -> None:
    model = make_model("llama")
    assert "lm_head" not in resolve_targets(model, ["all"])
    with pytest.raises(ModelError, match="'lm_head' is no linear layer"):
        resolve_targets(model, ["lm_head"])


def test_spaces_around_a_name_do_not_matter() -> None:
    model = make_model("llama")
    assert resolve_targets(model, ["q_proj, v_proj"]) == resolve_targets(model, ["q_proj,v_proj"])
    assert selects("q_proj , v_proj", "model.layers.0.self_attn.v_proj")


def test_a_name_is_not_matched_in_the_middle_of_another() -> None:
    assert selects("proj", "model.proj")
    assert not selects("proj", "model.q_proj")
    assert not selects("q_proj", "model.q_proj.inner")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"'qproj' is no linear layer of LlamaForCausalLM \(did you mean 'q_proj'"
    ):
        resolve_targets(make_model("llama"), ["all", "v_proj,qproj"])


def test_all_is_refused_where_peft_would_train_experts_too() -> None:
    model = make_model("mixtral")
    with pytest.raises(ModelError, match="name the layers, such as k_proj,o_proj,q_proj,v_proj") as caught:
        resolve_targets(model, ["q_proj", "all"])
    assert "\n" not in str(caught.value)
    assert any("experts" in layer for layer in layers_of_peft(model, "all"))


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(ModelError, match="has no linear layers"):
        resolve_targets(torch.nn.Sequential(torch.nn.Embedding(3, 4)), ["all"])


def test_features_are_told_whichever_way_the_weight_lies() -> None:
    assert features(torch.nn.Linear(3, 5)) == features(Conv1D(5, 3)) == (3, 5)
    assert fan_in_fan_out(Conv1D(5, 3))
    assert not fan_in_fan_out(torch.nn.Linear(3, 5))
