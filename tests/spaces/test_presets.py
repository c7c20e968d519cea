import dataclasses

import pytest
from loratune.errors import SpaceError
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS, preset, preset_for


@pytest.mark.parametrize("name", PRESETS)
def test_the_default_of_a_preset_lies_in_its_space(name):
    one = PRESETS[name]
    assert one.space.decode(one.space.encode(one.default)) == one.default
    assert one.space.closest(one.default) == one.default
    assert one.default_source
    assert one.words


def test_the_default_preset_spans_the_usual_ranges():
    assert dict(preset("default").space.describe()) == {
        "learning_rate": "1e-05 to 0.002, log scale",
        "batch_size": "4, 8, 16, 32",
        "lora_rank": "4, 8, 16, 32, 64",
        "lora_alpha_ratio": "0.5 to 4",
        "warmup_ratio": "0 to 0.1",
    }


def test_the_tiny_preset_spans_the_rates_of_small_models():
    assert dict(preset("tiny").space.describe()) == {
        "learning_rate": "0.0003 to 0.1, log scale",
        "batch_size": "4, 8, 16, 32",
        "lora_rank": "2, 4, 8, 16",
        "lora_alpha_ratio": "0.5 to 4",
        "warmup_ratio": "0 to 0.1",
    }


def test_the_quickllm_preset_spans_the_ranges_of_its_article():
    assert dict(preset("quickllm").space.describe()) == {
        "learning_rate": "1e-06 to 0.0001, log scale",
        "batch_size": "2, 4, 8, 16",
        "lora_rank": "8, 16, 32, 64, 128",
        "lora_alpha_ratio": "2 (fixed)",
        "warmup_ratio": "0.01 to 0.2",
    }


def test_the_tiny_default_is_frozen():
    assert preset("tiny").default == LoraParams(
        learning_rate=1e-2, batch_size=8, lora_rank=16, lora_alpha=32.0, warmup_ratio=0.1
    )


def test_small_models_take_the_tiny_preset():
    assert [preset_for(size).name for size in (260_000, 49_999_999, 50_000_000, 8 * 10**9)] == [
        "tiny",
        "tiny",
        "default",
        "default",
    ]


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(SpaceError, match=r"'tinny' is neither a preset .* \(did you mean 'tiny'\?\)"):
        preset("tinny")


def test_presets_cannot_be_changed_in_passing():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("tiny").default.lora_rank = 8
