"""Values that an option does not take: which option, which value, what may be given; never a traceback."""

from __future__ import annotations

import pytest
from loratune.errors import shown

HUGE = "1" + "0" * 30

WHOLE = ["", "x", "1.5", "1e3", "nan", "0x10", "-7", HUGE, "9" * 5000, "١", "1_0"]
REAL = ["", "x", "nan", "inf", "-1", "0", "1e300", "1e-400"]


@pytest.mark.parametrize("value", WHOLE, ids=lambda value: value[:12])
@pytest.mark.parametrize(
    "words",
    [
        ("search", "--trials"),
        ("resume", "--trials"),
        ("plan", "--examples"),
        ("plan", "--eval-examples"),
        ("plan", "--cutoff-len"),
        ("plan", "--seed"),
        ("plan", "--keep-adapters"),
        ("plan", "--workers"),
        ("plan", "--slots"),
        ("show", "--trial"),
        ("export", "--trial"),
    ],
    ids=" ".join,
)
def test_what_is_no_whole_number_is_refused_with_what_may_be_given(refused, tmp_path, words, value):
    ended = refused(*words, value)
    assert ended.code == 2
    assert ended.complaint.startswith(f"tune: {words[-1]}: {shown(value)} is ")
    assert len(ended.complaint) < 200
    assert "whole number from " in ended.complaint
    assert "range" not in ended.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", REAL)
@pytest.mark.parametrize(
    "words",
    [("plan", "--timeout"), ("plan", "--max-grad-norm"), ("export", "--epochs"), ("resume", "--timeout")],
    ids=" ".join,
)
def test_what_is_no_number_above_zero_is_refused_with_the_greatest_that_may_be_given(refused, words, value):
    ended = refused(*words, value)
    assert ended.code == 2
    assert ended.complaint.startswith(f"tune: {words[-1]}: {value!r} is no number above 0 and up to ")


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--storage"),
        ("search", "--config"),
        ("report", "--output"),
        ("export", "--output"),
        ("plot", "history", "--output"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path_is_said_to_be_empty(refused, words, value):
    ended = refused(*words, value)
    assert ended.code == 2
    assert ended.complaint.startswith(f"tune: {words[-1]}: is empty; name a file")


@pytest.mark.parametrize("word", ["--dtype", "--format", "--sampler", "--pruner", "--attn-implementation"])
def test_a_word_that_is_none_of_the_choices_is_answered_with_them(refused, word):
    ended = refused("plan", word, "banana")
    assert ended.code == 2
    assert ended.complaint.startswith(f"tune: {word}: 'banana' is not one of '")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pruner", "halving:factor=1"), "--pruner: 'halving:factor=1' sets factor to '1', which is not a"),
        (("--pruner", "none:x=1"), "--pruner: 'none:x=1' has settings after the colon, and none has none"),
        (("--sampler", "tpe:strtup=3"), "no setting of tpe (did you mean 'startup'?); write tpe:startup=N"),
    ],
)
def test_a_setting_that_is_none_is_answered_with_those_there_are(refused, words, said):
    ended = refused("plan", *words)
    assert ended.code == 2
    assert said in ended.complaint


@pytest.mark.parametrize("name", ["-x", ".", ".."])
def test_a_name_that_a_shell_or_a_folder_takes_otherwise_is_refused(refused, tmp_path, name):
    ended = refused("search", f"--study={name}")
    assert ended.code == 1
    assert f"study name '{name}'" in ended.complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("list",), ("search", "--trials=2")], ids=" ".join)
def test_a_device_in_place_of_a_database_is_refused(refused, tmp_path, words):
    ended = refused(*words, "--storage=/dev/null")
    assert ended.code == 1
    assert "/dev/null: is a device or a pipe" in ended.complaint
