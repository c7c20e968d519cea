import math

import pytest
from loratune.errors import SpaceError
from loratune.spaces.params import LoraParams

GOOD = {"learning_rate": 1e-4, "batch_size": 8, "lora_rank": 8, "lora_alpha": 16.0}


def test_parameters_survive_a_dictionary():
    params = LoraParams(**GOOD, lora_target="q_proj,v_proj", lora_dropout=0.1)
    assert LoraParams.from_dict(params.to_dict()) == params


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in GOOD
            for value in (0, -1, math.nan, math.inf, True, "8", None, [8], 10**400)
        ],
        ("batch_size", 8.0),
        ("lora_rank", 65537),
        ("warmup_ratio", 1.0),
        ("lora_dropout", -0.1),
        ("weight_decay", -1e-9),
        ("lr_scheduler_type", "cosin"),
        ("lora_target", "q_proj,,v_proj"),
        ("lora_target", ""),
        ("loraplus_lr_ratio", 0.0),
    ],
)
def test_a_value_outside_the_limits_is_refused_by_name(name, value):
    with pytest.raises(SpaceError, match=f"^{name}: "):
        LoraParams(**{**GOOD, name: value})


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SpaceError, match="did you mean 'lora_rank'"):
        LoraParams.from_dict({**GOOD, "lora_rnk": 8})


def test_a_missing_value_is_named():
    with pytest.raises(SpaceError, match=r"^lora_alpha: has no value"):
        LoraParams.from_dict({name: value for name, value in GOOD.items() if name != "lora_alpha"})


def test_targets_are_compared_without_order_spaces_or_repeats():
    one, other = (
        LoraParams(**GOOD, lora_target=words) for words in ("v_proj, q_proj", "q_proj,v_proj,q_proj")
    )
    assert one.target_names == other.target_names == ("q_proj", "v_proj")


def test_the_update_is_scaled_by_alpha_over_rank():
    assert LoraParams(**GOOD).scaling == 2.0
