"""What a base takes that is quantized while it is loaded, and what is said before a worker starts."""

import dataclasses
import importlib.metadata
import json

import pytest
from loratune.errors import ModelError
from loratune.objectives import quantization
from loratune.objectives.quantization import bytes_of_base, check_quantization
from loratune.study.config import ModelConfig

MODEL = ModelConfig(name_or_path="org/tiny", quantization_bit=4)


def having(monkeypatch, version):
    def found(name):
        assert name == "bitsandbytes"
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(quantization.importlib.metadata, "version", found)


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    having(monkeypatch, None)
    with pytest.raises(ModelError) as caught:
        check_quantization(MODEL, None)
    said = str(caught.value)
    assert "\n" not in said
    assert "needs bitsandbytes, which is not installed; pip install 'loratune[quantized]'" in said
    check_quantization(dataclasses.replace(MODEL, quantization_bit=None), None)


def test_an_older_library_is_refused_by_its_version(monkeypatch):
    having(monkeypatch, "0.46.1")
    with pytest.raises(ModelError, match=r"0\.50 or later, and 0\.46\.1 is installed"):
        check_quantization(MODEL, None)
    for version in ("0.50.0", "0.50.2.dev1", "1.0"):
        having(monkeypatch, version)
        check_quantization(MODEL, None)


def test_what_is_quantized_already_is_not_quantized_again(monkeypatch, tmp_path):
    having(monkeypatch, "0.50.2")
    config = tmp_path / "config.json"
    config.write_text("{}")
    check_quantization(MODEL, tmp_path)
    config.write_text(json.dumps({"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(ModelError, match="quantized already; leave it out"):
        check_quantization(MODEL, tmp_path)


@pytest.mark.parametrize("settings", [{"quant_method": "bitsandbytes"}, {"load_in_8bit": True}])
def test_a_folder_that_the_library_quantized_needs_it_before_anything_is_loaded(
    monkeypatch, tmp_path, settings
):
    model = dataclasses.replace(MODEL, quantization_bit=None)
    config = tmp_path / "config.json"
    having(monkeypatch, None)
    config.write_text(json.dumps({"quantization_config": {"quant_method": "gptq"}}))
    check_quantization(model, tmp_path)  # refused by its own name, when it is loaded
    config.write_text(json.dumps({"quantization_config": settings}))
    with pytest.raises(
        ModelError, match=r"is quantized and needs bitsandbytes, .*give the unquantized model"
    ):
        check_quantization(model, tmp_path)
    having(monkeypatch, "0.50.2")
    check_quantization(model, tmp_path)


def test_four_bits_take_half_a_byte_and_the_scales_of_linear_layers_alone():
    shapes = {
        "model.embed_tokens.weight": (1000, 64),
        "model.layers.0.self_attn.q_proj.weight": (64, 64),
        "model.layers.0.self_attn.q_proj.bias": (64,),
        "model.layers.0.input_layernorm.weight": (64,),
        "lm_head.weight": (1000, 64),
    }
    whole = 2 * (1000 * 64 + 64 + 64 + 1000 * 64)
    assert bytes_of_base(shapes, 2) == whole + 2 * 64 * 64
    assert bytes_of_base(shapes, 2, 4) == whole + 64 * 64 // 2 + 64 + 4
    assert bytes_of_base(shapes, 2, 8) == whole + 64 * 64 + 4 * 64
