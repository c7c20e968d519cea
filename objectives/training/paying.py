"""How many trials at once a GPU is worth: the most that pays, not the most that fits.

Past some number of trials the device is as busy as it can be. More of them would only know less of each
other when they begin: a search that proposes few at a time learns from those before. Pure: how fast so many
trials train is asked of a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

PAYS = 1.05
"""Twice the trials pay if examples per second grow by this factor at least."""


def most_that_pays(fits: int, rate: Callable[[int], float | None]) -> tuple[int, dict[int, float]]:
    """Return how many trials to train at once, and the examples per second of that many and of fewer.

    Args:
        fits: the most that memory takes.
        rate: examples per second of so many trials; None where memory ran out with them after all.

    Raises ``ValueError`` where not even one trial has a rate.

    >>> most_that_pays(32, lambda trials: min(trials, 8) * 10.0)
    (8, {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0})
    """
    found: dict[int, float] = {}
    for trials in _doublings(fits):
        now = rate(trials)
        if now is None or (found and now < PAYS * found[max(found)]):
            break
        found[trials] = now
    if not found:
        raise ValueError("not even one trial has a rate")
    return max(found), found


def _doublings(most: int) -> Iterator[int]:
    """Yield 1, 2, 4 … and ``most`` itself."""
    trials = 1
    while trials < most:
        yield trials
        trials *= 2
    yield most
