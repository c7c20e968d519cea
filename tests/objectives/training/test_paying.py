"""How many trials at once pay, by examples per second that are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from loratune.objectives.training.paying import most_that_pays


@pytest.mark.parametrize(
    ("fits", "rate", "found", "asked"),
    [
        (32, lambda trials: 10.0 * trials, 32, [1, 2, 4, 8, 16, 32]),
        (24, lambda trials: 10.0 * trials, 24, [1, 2, 4, 8, 16, 24]),
        (32, lambda trials: 10.0 * min(trials, 5), 8, [1, 2, 4, 8, 16]),
        (32, lambda trials: 10.0 + 0.1 * trials, 1, [1, 2]),
        (32, lambda trials: 10.0 / trials, 1, [1, 2]),
        (32, lambda trials: 10.0 * trials if trials < 8 else None, 4, [1, 2, 4, 8]),
        (1, lambda trials: 10.0, 1, [1]),
    ],
)
def test_twice_the_trials_are_tried_as_long_as_that_pays(
    fits: int, rate: Callable[[int], float | None], found: int, asked: list[int]
) -> None:
    seen: list[int] = []

    def watched(trials: int) -> float | None:
        seen.append(trials)
        return rate(trials)

    paid = [trials for trials in asked if trials <= found]
    assert most_that_pays(fits, watched) == (found, {trials: rate(trials) for trials in paid})
    assert seen == asked


def test_where_nothing_runs_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="not even one"):
        most_that_pays(4, lambda trials: None)
