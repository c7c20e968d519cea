"""Points that fill a space evenly."""

from __future__ import annotations

import math

import pytest
from loratune.search.samplers.kinds import propose
from loratune.search.samplers.qmc import halton
from loratune.spaces.presets import preset
from loratune.study.samplers import Qmc

SPACE = preset("tiny").space


@pytest.mark.parametrize(("dimension", "base"), [(0, 2), (1, 3), (2, 5), (4, 11)])
def test_each_stretch_of_trials_has_one_in_each_part_of_every_range(dimension: int, base: int) -> None:
    count = base**2
    for begin in (0, count, 5 * count):
        points = [halton(index, 5, seed=(3, 0))[dimension] for index in range(begin, begin + count)]
        assert sorted(math.floor(point * count) for point in points) == list(range(count))


def test_points_lie_in_the_cube_and_differ_by_seed() -> None:
    points = [halton(index, 11, seed=(0, 0)) for index in range(200)]
    assert all(0 <= coordinate < 1 for point in points for coordinate in point)
    assert halton(7, 3, seed=(0, 0)) != halton(7, 3, seed=(1, 0)) != halton(7, 3, seed=(0, 1))


def test_a_study_that_is_resumed_goes_on_with_the_next_point() -> None:
    found = propose(SPACE, [], number=17, seed=0, sampler=Qmc())
    assert found is not None
    rates = [propose(SPACE, [], number=at, seed=0, sampler=Qmc())[0].learning_rate for at in range(1, 33)]  # type: ignore[index]
    assert rates[16] == found[0].learning_rate
    assert len(set(rates)) == 32
