import dataclasses
import math

import pytest
from loratune.errors import SpaceError
from loratune.spaces.dimensions import listed
from loratune.spaces.params import LoraParams, from_searched, value_of
from loratune.spaces.presets import PRESETS

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


def test_rslora_scales_the_update_by_alpha_over_the_root_of_the_rank():
    fixed = [LoraParams(**{**GOOD, "lora_rank": rank}, use_rslora=True).scaling for rank in (4, 16, 64)]
    assert fixed == [8.0, 4.0, 2.0]
    # An alpha of c √rank scaled as ever is the same as an alpha of c under rsLoRA.
    plain = LoraParams(**{**GOOD, "lora_rank": 64, "lora_alpha": 16.0 * 8})
    assert plain.scaling == fixed[-1]


def test_the_searched_ratio_stays_alpha_over_rank_under_rslora():
    params = dataclasses.replace(PRESETS["tiny"].default, use_rslora=True)
    assert value_of(params, "lora_alpha_ratio") == 2.0
    space = PRESETS["tiny"].space.replace(listed("use_rslora", (False, True)))
    assert space.decode(space.encode(params)) == params
    assert from_searched({**GOOD, "use_rslora": True}).scaling == 16.0 / math.sqrt(8)


def test_what_was_stored_before_rslora_is_read_without_it():
    assert LoraParams.from_dict(GOOD).use_rslora is False
