"""When a trial of full length ends, and which of its weights are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.errors import UsageError
from loratune.study.stopping import Stopping, best_round

LOSSES = st.lists(st.floats(0.1, 5.0), min_size=1, max_size=8)


def test_it_ends_once_patience_many_rounds_have_brought_nothing_lower() -> None:
    stopping = Stopping(patience=2)
    assert not stopping.is_over([0.9, 0.5, 0.6])
    assert stopping.is_over([0.9, 0.5, 0.6, 0.7])
    assert not stopping.is_over([0.9, 0.5, 0.6, 0.4])


def test_as_good_as_before_is_no_improvement() -> None:
    assert Stopping(patience=1).is_over([0.5, 0.5])


@given(LOSSES)
def test_without_patience_it_never_ends_by_itself(losses: list[float]) -> None:
    assert not Stopping().is_over(losses)


@given(LOSSES)
def test_the_best_round_is_the_first_of_the_lowest_loss(losses: list[float]) -> None:
    kept = Stopping(keep="best").kept_round(losses)
    assert losses[kept - 1] == min(losses)
    assert min(losses) not in losses[: kept - 1]
    assert kept == best_round(losses)


@given(LOSSES)
def test_the_last_round_is_kept_where_that_is_asked_for(losses: list[float]) -> None:
    assert Stopping(keep="last").kept_round(losses) == len(losses)


@pytest.mark.parametrize(
    ("wrong", "words"), [({"patience": 0}, "0 is less than 1"), ({"keep": "all"}, "'all'")]
)
def test_what_makes_no_sense_is_refused(wrong: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Stopping(**wrong)
