from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.split import check_shares, distinct, shuffled, take_shares

SHARES = (0.70, 0.15, 0.15)


def _keys(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_the_default_shares_are_kept() -> None:
    parts = take_shares(_keys(1000), SHARES, 0, validation=True, test=True)
    assert [len(part) for part in parts] == [700, 150, 150]


@settings(deadline=None)
@given(st.integers(3, 300), st.integers(0, 5), st.booleans(), st.booleans())
def test_every_example_is_in_one_split(count: int, seed: int, validation: bool, test: bool) -> None:
    parts = take_shares(_keys(count), SHARES, seed, validation=validation, test=test)
    assert sorted([position for part in parts for position in part]) == list(range(count))
    assert [bool(part) for part in parts] == [True, validation, test]


def test_training_examples_stay_in_the_order_of_the_file() -> None:
    train, validation, _ = take_shares(_keys(200), SHARES, 0, validation=True, test=True)
    assert train == sorted(train)
    assert validation != sorted(validation)


def test_a_seed_splits_in_its_own_way_and_always_the_same() -> None:
    one, same, other = (
        take_shares(_keys(100), SHARES, seed, validation=True, test=True) for seed in (0, 0, 1)
    )
    assert one == same
    assert one != other


@settings(deadline=None)
@given(st.permutations(range(40)))
def test_membership_does_not_depend_on_the_place_in_the_file(order: list[int]) -> None:
    keys = _keys(40)
    plain = take_shares(keys, SHARES, 0, validation=True, test=True)
    mixed = take_shares([keys[at] for at in order], SHARES, 0, validation=True, test=True)
    assert [order[at] for at in mixed[1]] == plain[1]
    assert [order[at] for at in mixed[2]] == plain[2]


def test_the_order_is_pinned_so_that_no_version_of_a_library_moves_the_test_set() -> None:
    assert shuffled(_keys(8), 0) == [7, 4, 3, 2, 6, 0, 5, 1]


@pytest.mark.parametrize(
    ("count", "validation", "test", "needed"), [(2, True, True, 3), (1, True, False, 2), (0, False, False, 1)]
)
def test_too_few_examples_are_refused_with_how_many_are_needed(
    count: int, validation: bool, test: bool, needed: int
) -> None:
    with pytest.raises(DataError, match=f"{count} distinct example.* at least {needed} are needed"):
        take_shares(_keys(count), SHARES, 0, validation=validation, test=test)


def test_large_shares_of_few_examples_leave_one_for_training() -> None:
    parts = take_shares(_keys(3), (0.1, 0.8, 0.1), 0, validation=True, test=True)
    assert [len(part) for part in parts] == [1, 1, 1]


def test_a_test_share_of_nothing_leaves_the_test_set_empty() -> None:
    parts = take_shares(_keys(10), (0.8, 0.2, 0.0), 0, validation=True, test=True)
    assert [len(part) for part in parts] == [8, 2, 0]


@pytest.mark.parametrize(
    "shares", [(0.7, 0.2, 0.2), (0.8, 0.0, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(DataError, match=r"the split .* is not valid"):
        check_shares(shares)


def test_repeats_are_kept_once_and_in_the_last_list_that_has_them() -> None:
    train, validation, test = [b"a", b"b", b"a", b"c", b"d"], [b"c", b"e", b"d"], [b"d"]
    assert distinct([train, validation, test]) == [[0, 1], [0, 1], [0]]
