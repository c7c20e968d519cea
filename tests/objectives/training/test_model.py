"""Loading the base model: frozen and quiet, or refused in one line that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
import transformers
from huggingface_hub import errors
from loratune.errors import ModelError
from loratune.objectives.training.model import hold, load_model, load_tokenizer
from loratune.study.config import ModelConfig
from transformers.utils import logging as transformers_logging

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(name="folder")
def make_folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder of the test's own."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    return folder


@pytest.fixture(name="hub")
def make_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the Hub, and no way to the Hub itself."""
    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return cache


def config_of(where: object, **changes: Any) -> ModelConfig:
    return ModelConfig(name_or_path=str(where), **{"device": "cpu", **changes})


def refusal(load: Callable[[ModelConfig], object], config: ModelConfig) -> str:
    """The message of the refusal, which is always one line and begins with the name."""
    with pytest.raises(ModelError) as caught:
        load(config)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{config.name_or_path}: ")
    return message


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_model_comes_frozen_in_eval_mode_and_described(folder: Path) -> None:
    base = load_model(config_of(folder))
    assert not any(weight.requires_grad for weight in base.model.parameters())
    assert not base.model.training
    assert base.model.config.use_cache is False
    assert base.dtype == base.model.dtype == torch.float32
    assert base.device == torch.device("cpu")
    assert base.summary.name_or_path == str(folder)
    assert base.summary.revision is None
    assert base.summary.architecture == "LlamaForCausalLM"
    assert base.summary.parameters == sum(weight.numel() for weight in base.model.parameters())
    assert base.summary.vocab_size == base.model.config.vocab_size
    assert base.summary.device == "cpu"
    assert "core" in base.summary.device_name


def test_a_model_in_memory_is_frozen_too() -> None:
    shape = {"vocab_size": 8, "n_embd": 4, "n_layer": 1, "n_head": 1, "n_positions": 8}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, resid_pdrop=0.9)).train()
    base = hold(model, torch.device("cpu"), torch.float32, name_or_path="mine")
    assert base.model is model
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_and_dtype_are_those_that_were_asked_for(folder: Path, attention: str) -> None:
    base = load_model(config_of(folder, dtype="bfloat16", attn_implementation=attention))
    assert base.dtype == base.model.dtype == torch.bfloat16
    assert base.model.config._attn_implementation == attention


def test_loading_says_nothing_and_leaves_the_loggers_as_they_were(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    edit_config(folder, eos_token_id=10**6)  # Transformers warns of it
    before = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    load_tokenizer(config_of(folder))
    load_model(config_of(folder))
    assert capfd.readouterr() == ("", "")
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_the_tokenizer_belongs_to_the_folder(folder: Path) -> None:
    tokenizer = load_tokenizer(config_of(folder))
    assert tokenizer.decode(tokenizer("2+2?").input_ids, skip_special_tokens=True) == "2+2?"


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no weights (model.safetensors)" in refusal(load_model, config_of(folder))


def test_pickled_weights_are_refused_with_the_way_to_convert_them(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    message = refusal(load_model, config_of(folder))
    assert "pytorch_model.bin, which is not safetensors" in message
    assert "save_pretrained" in message


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "the folder has no tokenizer" in refusal(load_tokenizer, config_of(folder))


def test_a_torn_tokenizer_is_refused(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:100])
    assert "the tokenizer cannot be loaded" in refusal(load_tokenizer, config_of(folder))


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_folder_without_a_config_is_refused(load: Any, folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(load, config_of(folder))


def test_an_adapter_is_no_base_model(folder: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    assert "merge" in refusal(load_model, config_of(folder))
    (folder / "config.json").unlink()
    assert "give its base model 'org/base'" in refusal(load_model, config_of(folder))


def test_torn_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "check or download it again" in refusal(load_model, config_of(folder))


def test_weights_that_leave_a_layer_at_random_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    lost = "model.layers.1.mlp.up_proj.weight"
    del weights[lost]
    safetensors.torch.save_file(weights, file, {"format": "pt"})
    assert f"the weights lack {lost} of LlamaForCausalLM" in refusal(load_model, config_of(folder))


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    edit_config(folder, intermediate_size=64)
    message = refusal(load_model, config_of(folder))
    assert "hold model.layers.0.mlp.down_proj.weight in another shape and 5 more" in message


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (transformers.T5Config(), "is an encoder-decoder (t5)"),
        (transformers.BertConfig(architectures=["BertForMaskedLM"]), "not a causal language model"),
        (transformers.ViTConfig(), "not a causal language model"),
    ],
    ids=["t5", "bert", "vit"],
)
def test_what_is_no_causal_language_model_is_refused(config: Any, why: str, folder: Path) -> None:
    config.save_pretrained(folder)
    assert why in refusal(load_model, config_of(folder))


def test_code_that_comes_with_a_model_is_not_run(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text(f"open({str(folder / 'run')!r}, 'w')")
    edit_config(
        folder,
        model_type="evil",
        auto_map={"AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"},
    )
    assert "Python code of its own, which is not run" in refusal(load_model, config_of(folder))
    assert not (folder / "run").exists()


def test_a_model_type_that_transformers_does_not_know_is_refused(folder: Path) -> None:
    edit_config(folder, model_type="unheard-of")
    assert f"Transformers {transformers.__version__} does not know" in refusal(load_model, config_of(folder))


def test_attention_that_the_architecture_lacks_is_refused(folder: Path) -> None:
    transformers.Gemma2Config(vocab_size=8).save_pretrained(folder)
    assert "has no sdpa attention" in refusal(load_model, config_of(folder))


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize("name", ["/nowhere/at/all", "./model", "~/no-such-model", "a/b/c", "C:\\models"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(load: Any, name: str) -> None:
    assert "there is no such folder" in refusal(load, config_of(name))


def test_a_file_is_no_folder(folder: Path) -> None:
    assert "is a file" in refusal(load_model, config_of(folder / "model.safetensors"))


def test_a_model_in_the_cache_is_loaded_offline_and_pinned_to_its_commit(hub: Path, folder: Path) -> None:
    repository = hub / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    base = load_model(config_of("org/tiny"))
    assert base.summary.revision == COMMIT
    assert base.summary.name_or_path == "org/tiny"
    assert load_model(config_of("org/tiny", revision=COMMIT)).summary.revision == COMMIT
    assert load_tokenizer(config_of("org/tiny")).is_fast


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
def test_a_model_that_is_not_in_the_cache_says_how_to_get_it(load: Any, hub: Path) -> None:
    message = refusal(load, config_of("org/tiny"))
    assert "not in the local cache and HF_HUB_OFFLINE is set" in message
    assert "hf download org/tiny" in message


def test_a_model_of_the_cache_without_safetensors_is_refused(hub: Path, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    repository = hub / "models--org--tiny"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    assert "has no safetensors weights on the Hub" in refusal(load_model, config_of("org/tiny"))


def test_a_name_that_the_hub_cannot_have_is_refused(hub: Path) -> None:
    assert "neither a folder nor a Hub id" in refusal(load_model, config_of("org/two words"))


def hub_error(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    response = SimpleNamespace(status_code=status, headers={}, request=None, url="")
    return kind("first line\nsecond line", response=response)


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (hub_error(errors.GatedRepoError, 403), "ask for access at https://huggingface.co/org/tiny"),
        (hub_error(errors.RepositoryNotFoundError, 404), "check the name, or run `hf auth login`"),
        (hub_error(errors.RevisionNotFoundError, 404), "has no revision 'v9' on the Hub"),
        (hub_error(errors.RemoteEntryNotFoundError, 404), "has no config.json on the Hub"),
        (
            errors.LocalEntryNotFoundError("no\nnetwork"),
            "the Hub cannot be reached; run `hf download org/tiny`",
        ),
        (RuntimeError("some\nother\nthing"), "the model cannot be loaded (RuntimeError: some other thing)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_answers_becomes_one_line(
    error: Exception, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert cure in refusal(load_model, config_of("org/tiny", revision="v9"))


def test_memory_that_ran_out_while_loading_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    assert "does not fit into memory" in refusal(load_model, config_of(folder))
