"""A quantized base model that is not known to train rightly is refused before its weights are read."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from loratune.errors import ModelError
from loratune.objectives import quantization
from loratune.objectives.training.model import load_model
from loratune.objectives.training.quantized import check_quantized, check_trainable
from loratune.study.config import ModelConfig


def config_with(settings: dict[str, Any] | None, *, inside: bool = False) -> Any:
    """A configuration with these quantization settings; ``inside`` those of a multimodal model's text."""
    config: Any = transformers.Gemma3Config() if inside else transformers.LlamaConfig()
    if settings is not None:
        (config.text_config if inside else config).quantization_config = settings
    return config


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Say which release of bitsandbytes is installed, or none; a recent one until it is called."""

    def having(version: str | None) -> None:
        def found(name: str) -> str:
            if version is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(quantization.importlib.metadata, "version", found)

    having("0.50.2")
    return having


def refusal(settings: dict[str, Any], **how: bool) -> str:
    with pytest.raises(ModelError) as caught:
        check_quantized("org/tiny", config_with(settings, **how))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("org/tiny: ")
    assert "give the unquantized model" in message
    return message


@pytest.mark.usefixtures("library")
def test_an_unquantized_model_and_what_bitsandbytes_quantized_pass() -> None:
    check_quantized("org/tiny", config_with(None))
    check_quantized("org/tiny", config_with(None, inside=True))
    check_quantized("org/tiny", config_with({"quant_method": "bitsandbytes", "load_in_4bit": True}))
    check_quantized("org/tiny", config_with({"load_in_4bit": True, "load_in_8bit": False}))
    check_quantized("org/tiny", config_with({"load_in_8bit": True, "load_in_4bit": False}))


def test_what_bitsandbytes_quantized_needs_it_and_says_so(library: Callable[[str | None], None]) -> None:
    settings = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    library(None)
    check_quantized("org/tiny", config_with(None))
    assert "needs bitsandbytes, which is not installed; pip install 'loratune[quantized]'" in refusal(
        settings
    )
    library("0.46.1")
    with pytest.raises(ModelError, match=r"needs bitsandbytes 0\.50 or later, and 0\.46\.1 is installed"):
        check_quantized("org/tiny", config_with(settings))


@pytest.mark.parametrize("method", ["fp8", "mxfp4", "gptq", "awq", "hqq", "compressed-tensors", "torchao"])
@pytest.mark.parametrize("inside", [True, False])
def test_every_other_method_is_refused_by_name(method: str, inside: bool) -> None:
    assert f"is quantized by {method}" in refusal({"quant_method": method}, inside=inside)


@pytest.mark.usefixtures("library")
def test_settings_that_are_an_object_are_read_alike() -> None:
    config = config_with(None)
    config.quantization_config = transformers.BitsAndBytesConfig(load_in_8bit=True)
    check_quantized("org/tiny", config)
    config.quantization_config = transformers.GPTQConfig(bits=4)
    with pytest.raises(ModelError, match="is quantized by gptq"):
        check_quantized("org/tiny", config)


def test_a_folder_that_another_library_quantized_is_refused_in_one_line(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    values = json.loads((folder / "config.json").read_text())
    values["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="is quantized by awq") as caught:
        load_model(ModelConfig(name_or_path=str(folder), device="cpu"))
    assert "\n" not in str(caught.value)


def test_a_quantizer_that_cannot_train_is_refused_once_the_model_is_there() -> None:
    class Mxfp4HfQuantizer:
        is_trainable = False

    with pytest.raises(ModelError, match="Mxfp4HfQuantizer of Transformers can run its weights"):
        check_trainable("org/tiny", SimpleNamespace(hf_quantizer=Mxfp4HfQuantizer()))
    check_trainable("org/tiny", SimpleNamespace(hf_quantizer=None))
    check_trainable("org/tiny", SimpleNamespace(hf_quantizer=SimpleNamespace(is_trainable=True)))
