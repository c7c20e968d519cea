from __future__ import annotations

import pytest
from loratune.nouns import grouped, numbered, plural


@pytest.mark.parametrize(("number", "words"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_thing_is_one(number: int, words: str) -> None:
    assert numbered(number, "trial") == f"{number} {plural(number, 'trial')}" == words


@pytest.mark.parametrize(("number", "words"), [(999, "999"), (1536, "1,536"), (1234567, "1,234,567")])
def test_thousands_are_told_apart(number: int, words: str) -> None:
    assert grouped(number) == words
    assert numbered(number, "example") == f"{words} examples"
