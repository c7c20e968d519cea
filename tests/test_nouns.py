from __future__ import annotations

import pytest
from loratune.nouns import numbered, plural


@pytest.mark.parametrize(("number", "words"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_thing_is_one(number: int, words: str) -> None:
    assert numbered(number, "trial") == f"{number} {plural(number, 'trial')}" == words
