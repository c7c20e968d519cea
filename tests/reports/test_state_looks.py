"""Each state has a look, and there is one order in which states are drawn."""

from __future__ import annotations

from typing import get_args

from loratune.reports.state_looks import DRAWN, LOOKS
from loratune.study.records import State


def test_every_state_looks_like_something_everywhere():
    assert set(LOOKS) == {*get_args(State), "waiting", "interrupted"}
    assert all(look.style and len(look.mark) == 1 and look.color.startswith("#") for look in LOOKS.values())


def test_what_is_complete_is_drawn_over_all_others():
    assert sorted(DRAWN) == sorted(LOOKS)
    assert DRAWN[-1] == "complete"
