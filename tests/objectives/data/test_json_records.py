"""A JSON list is read an item at a time, whatever pieces its text comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.json_records import list_records

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def _pieces(text: str, size: int) -> Iterator[str]:
    return iter([text[at : at + size] for at in range(0, len(text), size)])


@settings(deadline=None)
@given(
    items=st.lists(st.dictionaries(st.text(max_size=5), values, max_size=4), max_size=6),
    size=st.integers(1, 70),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
)
def test_every_item_comes_whole(items: list[Any], size: int, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    found = list(list_records("a.json", _pieces(f" \n{text}\n ", size)))
    assert found == list(enumerate(items, start=1))


@settings(deadline=None)
@given(numbers=st.lists(st.integers() | st.floats(allow_nan=False), min_size=1), size=st.integers(1, 5))
def test_a_number_is_not_cut_in_two(numbers: list[float], size: int) -> None:
    found = list(list_records("a.json", _pieces(json.dumps(numbers), size)))
    assert len(found) == len(numbers)


@settings(deadline=None)
@given(data=st.data(), size=st.integers(1, 60))
def test_a_broken_list_is_refused_where_python_refuses_it(data: st.DataObject, size: int) -> None:
    text = json.dumps([{"text": "a" * 50, "n": [1, 2.5, None]}] * 3, indent=1)
    at = data.draw(st.integers(1, len(text) - 1))
    spoiled = data.draw(st.sampled_from([text[:at], text[:at] + "?" + text[at:], text + "x"]))
    try:
        json.loads(spoiled)
    except json.JSONDecodeError as error:
        expected = error
    else:
        return
    with pytest.raises(DataError) as caught:
        list(list_records("a.json", _pieces(spoiled, size)))
    said = f"a.json is not valid JSON at line {expected.lineno}, column {expected.colno}: {expected.msg}; "
    assert str(caught.value).startswith(said)
