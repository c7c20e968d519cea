"""Whatever a user writes is a space or one line of SpaceError, never another exception."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import SpaceError
from loratune.spaces.dimension import Dimension
from loratune.spaces.params import HYPERPARAMETERS, NAMES
from loratune.spaces.parse import dimension, parse_set
from loratune.spaces.value_kinds import Number, Switch, Whole

WHOLE = [name for name, one in HYPERPARAMETERS.items() if isinstance(one.kind, Whole)]
NUMBERS = [name for name, one in HYPERPARAMETERS.items() if one.kind.ordered]
FLOATS = [name for name, one in HYPERPARAMETERS.items() if isinstance(one.kind, Number)]
SWITCHES = [name for name, one in HYPERPARAMETERS.items() if isinstance(one.kind, Switch)]
ABOVE_ZERO = ["learning_rate", "lora_alpha", "lora_alpha_ratio", "loraplus_lr_ratio"]

TEXTS = [
    *[f"{name}={text}" for name in NAMES for text in ("", " ", ",", "1,,2", "8,8", "cosine,cosine", "|")],
    *[f"{name}={text}" for name in NUMBERS for text in
      ("nan", "inf", "-inf", "1e999", "-1", "true", "eight", "0x8", "1_0", "8;16", "8 16", "..", "1..", "..2",
       "1..2..3", "2..1", "4..x", "1..2:lgo", "1..2:", "[8]", "-1..1", "1...2e", "9" * 50)],
    *[f"{name}=0" for name in (*WHOLE, *ABOVE_ZERO)],
    *[f"{name}={text}" for name in WHOLE for text in
      ("8.0", "1e1", "0.5", "3..8", "4..9", "0..8", "65537", "1..131072")],
    *[f"{name}=0..1:log" for name in FLOATS],
    *[f"{name}=1" for name in ("warmup_ratio", "lora_dropout")],
    *[f"{name}=8" for name in ("lora_rnk", "", "rank", "LORA_RANK", "lora rank", "é", "x" * 9999)],
    *[f"lr_scheduler_type={text}" for text in ("cosin", "COSINE", "0..1", "8", "linear|cosine")],
    *[f"lora_target={text}" for text in ("q,,v", "all,q", "q,q", "q|q", "q,v|v,q", "q||v")],
    *["lora_rank", "8", "", "=", "=8", ":", "lora_rank:8"],
]  # fmt: skip

VALUES = [
    *[(name, value) for name in NAMES for value in
      ([], {}, None, True, False, math.nan, math.inf, -math.inf, [[8]], [None], [True], [math.nan], 10**400,
       object(), b"8", {"low": 1}, {"high": 1}, {"low": 1, "high": "x"}, {"low": 2, "high": 1},
       {"low": math.nan, "high": 1}, {"low": 1, "high": 2, "step": 1}, {"low": True, "high": 2},
       {"low": 1, "high": 2, "log": "yes"}, {1: 2}, list(range(1, 400)), ["x"] * 100_000)
      if name not in SWITCHES or value not in (True, False, [True])],
    *[(name, value) for name in SWITCHES for value in (2, "yes", "1", [True, True], [True, 0])],
]  # fmt: skip


def attempt(function, *arguments):
    """Return what the function returns, or the words of its SpaceError; let any other exception through."""
    try:
        return function(*arguments)
    except SpaceError as error:
        return str(error)


def test_there_are_enough_malformed_specifications():
    assert len(TEXTS) + len(VALUES) >= 400


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{i}") for i, text in enumerate(TEXTS)])
def test_a_malformed_text_is_refused_in_one_line(text):
    with pytest.raises(SpaceError) as caught:
        parse_set(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "value"), [pytest.param(*pair, id=f"{i}-{pair[0]}") for i, pair in enumerate(VALUES)]
)
def test_a_malformed_value_is_refused_in_one_line_that_names_the_parameter(name, value):
    with pytest.raises(SpaceError) as caught:
        dimension(name, value)
    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@settings(deadline=None, database=None, max_examples=150)
@given(
    st.one_of(
        st.text(), st.builds("{}={}".format, st.sampled_from(NAMES), st.text("0123456789.,e-+:|logx \n"))
    )
)
def test_any_text_is_a_dimension_or_refused(text):
    outcome = attempt(parse_set, text)
    assert isinstance(outcome, Dimension) or "\n" not in outcome


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.one_of(st.sampled_from(["low", "high", "log"]), st.text()), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, database=None, max_examples=150)
@given(st.sampled_from(NAMES), anything)
def test_any_value_is_a_dimension_or_refused(name, value):
    outcome = attempt(dimension, name, value)
    assert isinstance(outcome, Dimension) or "\n" not in outcome
