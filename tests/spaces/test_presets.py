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
        "learning_rate": "2e-05 to 0.002, log scale",
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


def test_the_model_s_size_chooses_the_preset():
    sizes = (260_000, 49_999_999, 50_000_000, 9_999_999_999, 10_000_000_000)
    assert [preset_for(size).name for size in sizes] == ["tiny", "tiny", "default", "default", "large"]


def test_trial_0_learns_slower_the_larger_the_model():
    rates = [preset(name).default.learning_rate for name in ("tiny", "default", "large")]
    assert rates == [1e-2, 2e-4, 1e-4]
    assert {preset(name).default.lora_rank for name in ("tiny", "default", "large")} == {16}


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(SpaceError, match=r"'tinny' is neither a preset .* \(did you mean 'tiny'\?\)"):
        preset("tinny")


def test_presets_cannot_be_changed_in_passing():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("tiny").default.lora_rank = 8
