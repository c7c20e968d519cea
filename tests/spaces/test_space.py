import dataclasses
import json

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loratune.errors import SpaceError
from loratune.spaces.categories import Categories
from loratune.spaces.choices import Choices
from loratune.spaces.dimensions import listed, stored
from loratune.spaces.listed import MAX_CHOICES
from loratune.spaces.params import HYPERPARAMETERS, SCHEDULERS, LoraParams
from loratune.spaces.presets import PRESETS
from loratune.spaces.range import Range
from loratune.spaces.space import SearchSpace
from loratune.spaces.value_kinds import Number
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

quiet = settings(deadline=None, database=None)

LIMITS = {
    "learning_rate": st.floats(1e-300, 1e300),
    "lora_alpha_ratio": st.floats(1e-300, 1e300),
    "lora_alpha": st.floats(1e-300, 1e300),
    "loraplus_lr_ratio": st.floats(1e-300, 1e300),
    "warmup_ratio": st.floats(0, 0.999),
    "lora_dropout": st.floats(0, 0.999),
    "weight_decay": st.floats(0, 1e300),
    "batch_size": st.integers(1, 65536),
    "lora_rank": st.integers(1, 65536),
    "lora_target": st.sampled_from(["all", "q_proj", "q_proj,v_proj", "o_proj , up_proj", "down_proj"]),
    "lr_scheduler_type": st.sampled_from(SCHEDULERS),
    "use_rslora": st.booleans(),
}


@st.composite
def dimensions(draw, name):
    floats = isinstance(HYPERPARAMETERS[name].kind, Number)
    if floats and draw(st.booleans()):
        low, high = sorted((draw(LIMITS[name]), draw(LIMITS[name])))
        if high > low * (1 + 1e-6) + 1e-300:
            return Range(name=name, low=low, high=high, log=low > 0 and draw(st.booleans()))
    values = draw(st.lists(LIMITS[name], min_size=1, max_size=5))
    kept = []
    for value in values:
        if not any(value == other or (floats and abs(value - other) <= 1e-6 * value) for other in kept):
            kept.append(value)
    return listed(name, kept)


@st.composite
def spaces(draw):
    alpha = draw(st.sampled_from(["lora_alpha", "lora_alpha_ratio"]))
    more = draw(
        st.sets(
            st.sampled_from(
                [
                    "warmup_ratio",
                    "lora_dropout",
                    "weight_decay",
                    "lora_target",
                    "lr_scheduler_type",
                    "loraplus_lr_ratio",
                    "use_rslora",
                ]
            )
        )
    )
    names = ["learning_rate", "batch_size", "lora_rank", alpha, *sorted(more)]
    return SearchSpace(dimensions=tuple(draw(dimensions(name)) for name in draw(st.permutations(names))))


@st.composite
def drawn(draw):
    """A space and parameters of it, made without the space's own decoder."""
    space = draw(spaces())
    values = {}
    for one in space.dimensions:
        if isinstance(one, Range):
            values[one.name] = draw(st.floats(one.low, one.high))
        else:
            values[one.name] = draw(st.sampled_from(one.choices))
    if "lora_alpha_ratio" in values:
        values["lora_alpha"] = values.pop("lora_alpha_ratio") * values["lora_rank"]
    return space, LoraParams(**values)


def small(**changes):
    values = {
        "learning_rate": Range(name="learning_rate", low=1e-5, high=1e-3, log=True),
        "batch_size": Choices(name="batch_size", choices=(8, 4, 16)),
        "lora_rank": Choices(name="lora_rank", choices=(8,)),
        "lora_alpha_ratio": Range(name="lora_alpha_ratio", low=0.5, high=4.0),
    } | changes
    return SearchSpace(dimensions=tuple(values.values()))


@quiet
@given(drawn())
def test_parameters_of_the_space_survive_the_samplers_terms(both):
    space, params = both
    assert space.decode(space.encode(params)) == params


@quiet
@given(drawn())
def test_what_is_encoded_lies_in_the_distributions_and_names_exactly_them(both):
    space, params = both
    encoded, distributions = space.encode(params), space.distributions()
    assert encoded.keys() == distributions.keys()
    for name, distribution in distributions.items():
        assert distribution._contains(distribution.to_internal_repr(encoded[name])), name


@settings(quiet, max_examples=30)
@given(spaces(), st.integers(0, 2**31 - 1))
def test_every_suggestion_of_a_sampler_decodes_into_the_space(space, seed):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(3):
        params = space.decode(study.ask(space.distributions()).params)
        assert space.decode(space.encode(params)) == params
        assert params.batch_size in space.batch_sizes()
        assert params.lora_rank in space.lora_ranks()
        assert params.lora_target in space.lora_targets()
        low, high = space["learning_rate"].bounds
        assert low <= params.learning_rate <= high


@quiet
@given(spaces())
def test_a_space_survives_json_whatever_the_order_of_its_names(space):
    assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict(), sort_keys=True))) == space


@quiet
@given(spaces(), drawn())
def test_the_closest_parameters_lie_in_the_space_and_stay_once_there(space, other):
    near = space.closest(other[1])
    space.encode(near)
    assert space.closest(near) == near


@quiet
@given(drawn(), drawn())
def test_a_space_that_is_widened_has_what_it_was_widened_for_and_all_that_it_had(both, others):
    (space, params), (_, other) = both, others
    values = {**other.to_dict(), "lora_alpha_ratio": other.alpha_ratio}
    # No logarithmic scale goes down to 0.
    assume(all(values[one.name] > 0 for one in space.dimensions if isinstance(one, Range) and one.log))
    wider = space.holding(other)
    assert wider.decode(wider.encode(other)).to_dict() == pytest.approx(other.to_dict())
    assert wider.decode(wider.encode(params)).to_dict() == pytest.approx(params.to_dict())
    assert wider.holding(other) == wider
    assert space.holding(params) == space


def test_a_dimension_that_is_not_to_be_widened_stays():
    space = PRESETS["tiny"].space
    other = dataclasses.replace(PRESETS["tiny"].default, learning_rate=1e-6, lora_rank=256)
    wider = space.holding(other, but={"learning_rate"})
    assert wider["learning_rate"] == space["learning_rate"]
    assert wider.lora_ranks() == (2, 4, 8, 16, 256)


def test_ordered_numbers_are_searched_by_number_or_index_and_words_as_categories():
    space = small(
        lora_dropout=Choices(name="lora_dropout", choices=(0.1, 0.0)),
        lora_target=Categories(name="lora_target", choices=("all", "q_proj,v_proj")),
    )
    assert space.distributions() == {
        "learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True),
        "batch_size": optuna.distributions.IntDistribution(0, 2),
        "lora_alpha_ratio": optuna.distributions.FloatDistribution(0.5, 4.0),
        "lora_dropout": optuna.distributions.IntDistribution(0, 1),
        "lora_target": optuna.distributions.CategoricalDistribution(("all", "q_proj,v_proj")),
    }


def test_the_index_of_a_choice_follows_the_numbers_order():
    params = small().decode({"learning_rate": 1e-4, "batch_size": 0, "lora_alpha_ratio": 2.0})
    assert (params.batch_size, params.lora_rank, params.lora_alpha) == (4, 8, 16.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 7}, "batch_size: 7 is not among 4, 8, 16"),
        ({"learning_rate": 1e-2}, "learning_rate: 0.01 lies outside 1e-05 to 0.001, log scale"),
        ({"lora_alpha": 128.0}, "lora_alpha_ratio: 16.0 lies outside 0.5 to 4"),
        ({"lora_rank": 16}, "lora_rank: 16 is not among 8 (fixed)"),
        ({"lora_dropout": 0.1}, "lora_dropout: 0.1 is not among 0 (fixed)"),
        ({"lr_scheduler_type": "linear"}, "lr_scheduler_type: 'linear' is not among cosine (fixed)"),
    ],
)
def test_parameters_outside_the_space_are_refused_by_name(changes, message):
    inside = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)
    with pytest.raises(SpaceError) as caught:
        small().encode(dataclasses.replace(inside, **changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("suggested", "name"),
    [
        ({"learning_rate": 1e-4, "lora_alpha_ratio": 1.0}, "batch_size"),
        ({"learning_rate": 1e-4, "lora_alpha_ratio": 1.0, "batch_size": 3}, "batch_size"),
        ({"learning_rate": 1e-4, "lora_alpha_ratio": 1.0, "batch_size": -1}, "batch_size"),
        ({"learning_rate": 1e-4, "lora_alpha_ratio": 1.0, "batch_size": True}, "batch_size"),
        ({"learning_rate": 1.0, "lora_alpha_ratio": 1.0, "batch_size": 0}, "learning_rate"),
        ({"learning_rate": "x", "lora_alpha_ratio": 1.0, "batch_size": 0}, "learning_rate"),
        ({"learning_rate": 10**400, "lora_alpha_ratio": 1.0, "batch_size": 0}, "learning_rate"),
        ({"learning_rate": 1e-4, "lora_alpha_ratio": 1.0, "batch_size": 0, "lora_rank": 0}, "'lora_rank'"),
    ],
)
def test_a_suggestion_that_is_none_of_the_space_is_refused(suggested, name):
    with pytest.raises(SpaceError, match=f"^{name}: "):
        small().decode(suggested)


def test_a_suggestion_outside_by_mere_rounding_is_moved_onto_the_end():
    suggested = {"learning_rate": 1.0000000000000002e-3, "lora_alpha_ratio": 4.0, "batch_size": 0}
    assert small().decode(suggested).learning_rate == 1e-3


def test_values_at_an_end_are_named_and_values_within_are_not():
    middle = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)
    assert small().edges(middle) == ()
    ends = LoraParams(learning_rate=1.05e-5, batch_size=16, lora_rank=8, lora_alpha=31.9)
    assert small().edges(ends) == (
        "learning_rate 1.05e-05 is at the low end of 1e-05 to 0.001",
        "batch_size 16 is at the high end of 4 to 16",
        "lora_alpha_ratio 3.9875 is at the high end of 0.5 to 4",
    )


def test_an_end_with_nothing_valid_behind_it_is_no_edge():
    space = small(warmup_ratio=Range(name="warmup_ratio", low=0.0, high=0.1))
    params = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)
    assert space.edges(params) == ()
    assert space.edges(dataclasses.replace(params, warmup_ratio=0.1)) == (
        "warmup_ratio 0.1 is at the high end of 0 to 0.1",
    )


def test_the_closest_parameters_keep_the_ratio_of_alpha_when_the_rank_must_move():
    other = LoraParams(learning_rate=1.0, batch_size=5, lora_rank=64, lora_alpha=128.0, lora_target="q_proj")
    near = small().closest(other)
    assert near == LoraParams(learning_rate=1e-3, batch_size=4, lora_rank=8, lora_alpha=16.0)


def test_larger_batch_sizes_can_be_left_out():
    assert small().without_batch_sizes_above(8).batch_sizes() == (4, 8)
    with pytest.raises(SpaceError, match="batch_size: the smallest, 4, is above 2"):
        small().without_batch_sizes_above(2)


def test_alpha_takes_the_place_of_its_ratio():
    space = small().replace(Choices(name="lora_alpha", choices=(16, 32)))
    assert [name for name, _ in space.describe()] == [
        "learning_rate",
        "batch_size",
        "lora_rank",
        "lora_alpha",
    ]


@pytest.mark.parametrize(
    ("left_out", "name"),
    [(name, name) for name in ("learning_rate", "batch_size", "lora_rank", "lora_alpha_ratio")],
)
def test_a_space_without_a_needed_parameter_is_refused(left_out, name):
    kept = tuple(one for one in small().dimensions if one.name != left_out)
    with pytest.raises(SpaceError, match=f"^{name}: has no value"):
        SearchSpace(dimensions=kept)


def test_a_space_that_names_a_parameter_twice_is_refused():
    with pytest.raises(SpaceError, match=r"^lora_rank: is given twice"):
        SearchSpace(dimensions=(*small().dimensions, Choices(name="lora_rank", choices=(4,))))


def test_a_ratio_whose_alpha_would_be_infinite_is_refused():
    with pytest.raises(SpaceError, match=r"^lora_alpha_ratio: "):
        small(lora_alpha_ratio=Choices(name="lora_alpha_ratio", choices=(1e308,)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "lora_rank", "choices": (8, 16, 8)}, r"lora_rank\[2\]: 8 is there twice"),
        ({"name": "learning_rate", "choices": (0.5, 0.5 + 1e-10)}, r"learning_rate\[1\]: 0.5"),
        ({"name": "lora_target", "choices": ("q,v", "v, q")}, r"lora_target\[1\]: 'v,q' is there twice"),
        ({"name": "lora_target", "choices": ("all,q",)}, "lora_target: 'all,q' names a module twice"),
        ({"name": "lora_rank", "choices": tuple(range(1, MAX_CHOICES + 2))}, "lora_rank: has 257 values"),
        ({"name": "lora_rank", "low": 1, "high": 8}, "lora_rank: cannot be a range"),
        ({"name": "learning_rate", "low": 0.1, "high": 0.01}, "learning_rate: low 0.1 is above high 0.01"),
        ({"name": "learning_rate", "low": 0.1, "high": 0.1}, "learning_rate: low and high are both 0.1"),
        (
            {"name": "weight_decay", "low": 0.0, "high": 0.1, "log": True},
            "weight_decay.low: 0 cannot begin a log",
        ),
        (
            {"name": "learning_rate", "low": 0.1, "high": float("inf")},
            "learning_rate.high: inf is not a number",
        ),
        ({"name": "learning_rate", "low": 0.1}, "learning_rate: is empty"),
        ({"name": "learning_rate", "low": 0.1, "choices": (0.1,)}, "learning_rate: has both"),
        ({"name": "learning_rate", "low": 0.1, "high": 0.2, "log": 1}, "learning_rate.log: 1 is not true"),
        ({"name": "epochs", "choices": (1,)}, "'epochs': not a parameter"),
    ],
)
def test_a_malformed_dimension_is_refused(fields, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        stored(fields["name"], {key: value for key, value in fields.items() if key != "name"})


@pytest.mark.parametrize(
    "stored",
    [
        {"lora_rank": 8},
        {"lora_rank": {"choices": 8}},
        {"lora_rank": {"values": [8]}},
        {"rank": {"choices": [8]}},
        {},
    ],
)
def test_a_stored_space_that_was_tampered_with_is_refused(stored):
    with pytest.raises(SpaceError):
        SearchSpace.from_dict(stored)


def test_people_are_told_the_values_themselves_and_samplers_the_index():
    space = SearchSpace(
        dimensions=(
            Range(name="learning_rate", low=1e-5, high=1e-3, log=True),
            Choices(name="batch_size", choices=(8,)),
            Choices(name="lora_rank", choices=(8, 16, 64)),
            Choices(name="lora_alpha_ratio", choices=(0.5, 2.0)),
            Choices(name="lora_dropout", choices=(0.0, 0.1)),
            Categories(name="lora_target", choices=("all", "q_proj,v_proj")),
        )
    )
    params = space.decode(
        {
            "learning_rate": 1e-4,
            "lora_rank": 2,
            "lora_alpha_ratio": 1,
            "lora_dropout": 0,
            "lora_target": "q_proj,v_proj",
        }
    )
    values = space.values(dataclasses.replace(params, lora_target="v_proj,q_proj"))
    assert values == {
        "learning_rate": 1e-4,
        "lora_rank": 64,
        "lora_alpha_ratio": 2.0,
        "lora_dropout": 0.0,
        "lora_target": "q_proj,v_proj",
    }
    distributions = space.value_distributions()
    assert distributions == {
        "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
        "lora_rank": IntDistribution(8, 64, log=True),
        "lora_alpha_ratio": FloatDistribution(0.5, 2.0, log=True),
        "lora_dropout": FloatDistribution(0.0, 0.1),
        "lora_target": CategoricalDistribution(["all", "q_proj,v_proj"]),
    }
    for name, distribution in distributions.items():
        assert distribution._contains(distribution.to_internal_repr(values[name]))
