"""A dimension is one of three siblings, and what was stored of it in whatever version reads into that one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import SpaceError
from loratune.spaces.categories import Categories
from loratune.spaces.choices import Choices
from loratune.spaces.dimensions import listed, stored
from loratune.spaces.params import HYPERPARAMETERS, NAMES, SCHEDULERS
from loratune.spaces.range import Range
from loratune.spaces.value_kinds import Modules, Number, Switch, Whole
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

TARGETS = ("all", "q_proj", "q_proj,v_proj", "o_proj,up_proj", "down_proj,gate_proj,up_proj")
SIBLINGS = {
    Range: FloatDistribution,
    Choices: IntDistribution,
    Categories: CategoricalDistribution,
}
"""What a sampler is asked for, by the sibling."""


@st.composite
def old_entries(draw):
    """A name, what studies have stored of it since the first version, and the sibling that it is."""
    name = draw(st.sampled_from(NAMES))
    kind = HYPERPARAMETERS[name].kind
    if isinstance(kind, Number):
        values = [
            step / 1000 for step in draw(st.lists(st.integers(1, 999), min_size=1, max_size=6, unique=True))
        ]
        if len(values) > 1 and draw(st.booleans()):
            return name, {"low": min(values), "high": max(values), "log": draw(st.booleans())}, Range
        return name, {"choices": sorted(values)}, Choices
    if isinstance(kind, Whole):
        values = draw(st.lists(st.integers(1, 65536), min_size=1, max_size=6, unique=True))
        return name, {"choices": sorted(values)}, Choices
    words = TARGETS if isinstance(kind, Modules) else SCHEDULERS
    if isinstance(kind, Switch):
        words = (False, True)
    return name, {"choices": draw(st.lists(st.sampled_from(words), min_size=1, unique=True))}, Categories


@settings(deadline=None, database=None)
@given(old_entries())
def test_what_was_stored_reads_into_its_sibling_and_is_written_back_equal(old):
    name, entry, sibling = old
    text = json.dumps(entry)
    read = stored(name, json.loads(text))
    assert type(read) is sibling
    assert json.dumps(read.to_dict()) == text
    assert type(read.distribution()) is SIBLINGS[sibling]


@settings(deadline=None, database=None)
@given(old_entries(), st.data())
def test_every_sibling_gives_back_the_value_that_it_was_asked_for(old, data):
    name, entry, sibling = old
    read = stored(name, entry)
    if sibling is Range:
        value = data.draw(st.floats(read.low, read.high))
    else:
        value = data.draw(st.sampled_from(read.values))
    suggestion = read.suggestion_of(value)
    distribution = read.distribution()
    assert distribution._contains(distribution.to_internal_repr(suggestion))
    assert read.value_of(suggestion) == value == read.closest(value)


def test_a_range_is_never_one_of_words_or_whole_numbers():
    for name in ("lora_target", "lr_scheduler_type", "lora_rank"):
        with pytest.raises(SpaceError, match=f"^{name}: cannot be a range"):
            stored(name, {"low": 1, "high": 2, "log": False})


def test_only_numbers_have_a_least_and_a_greatest():
    assert listed("lora_rank", (64, 8)).bounds == (8.0, 64.0)
    with pytest.raises(SpaceError, match=r"^lora_target: "):
        _ = listed("lora_target", ("all",)).bounds
