"""Every combination of a grid, once."""

from __future__ import annotations

import itertools

import pytest
from loratune.search.samplers.base import Past
from loratune.search.samplers.grid import axis
from loratune.search.samplers.kinds import propose
from loratune.spaces.categories import Categories
from loratune.spaces.choices import Choices
from loratune.spaces.params import LoraParams
from loratune.spaces.range import Range
from loratune.spaces.space import SearchSpace
from loratune.study.samplers import Grid
from optuna.distributions import FloatDistribution

SPACE = SearchSpace(
    dimensions=(
        Range(name="learning_rate", low=1e-4, high=1e-2, log=True),
        Choices(name="batch_size", choices=(8,)),
        Choices(name="lora_rank", choices=(4, 8)),
        Range(name="lora_alpha_ratio", low=0.3, high=3.7),
        Categories(name="lora_target", choices=("all", "q_proj,v_proj")),
    )
)
ALL = 3 * 2 * 3 * 2


def walked(first: list[LoraParams], count: int, seed: int = 0) -> list[LoraParams]:
    """Return what a grid of three points proposes until it has nothing left, or so often."""
    history = [Past(suggestion=SPACE.encode(params), state="running") for params in first]
    found: list[LoraParams] = []
    for number in range(len(first), len(first) + count):
        proposal = propose(SPACE, history, number=number, seed=seed, sampler=Grid(points=3))
        if proposal is None:
            break
        assert proposal[1] == "grid"
        found.append(proposal[0])
        history.append(Past(suggestion=SPACE.encode(proposal[0]), state="running"))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_it_proposes_each_combination_once_and_then_nothing(seed: int) -> None:
    found = walked([], 2 * ALL, seed)
    assert len(found) == len(set(found)) == ALL
    rates = sorted({params.learning_rate for params in found})
    assert rates == pytest.approx([1e-4, 1e-3, 1e-2])
    ratios = {round(params.lora_alpha / params.lora_rank, 9) for params in found}
    assert ratios == {0.3, 2.0, 3.7}


def test_what_was_tried_before_is_left_out_and_what_lies_beside_the_grid_leaves_nothing_out() -> None:
    on_it = walked([], ALL)[5]
    beside = SPACE.decode({**SPACE.encode(on_it), "learning_rate": 2e-3})
    found = walked([on_it, beside], 2 * ALL)
    assert len(found) == ALL - 1
    assert on_it not in found


def test_the_first_of_a_large_grid_are_spread_over_it() -> None:
    found = walked([], ALL // 3)
    for values in (
        {params.learning_rate for params in found},
        {params.lora_alpha / params.lora_rank for params in found},
    ):
        assert len(values) == 3
    pairs = {(params.lora_rank, params.lora_target) for params in found}
    assert pairs == set(itertools.product((4, 8), ("all", "q_proj,v_proj")))


@pytest.mark.parametrize(
    ("points", "values"), [(1, [1e-3]), (2, [1e-4, 1e-2]), (5, [1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2])]
)
def test_a_range_is_cut_evenly_on_its_scale_with_both_ends(points: int, values: list[float]) -> None:
    assert axis(FloatDistribution(1e-4, 1e-2, log=True), points) == pytest.approx(values)
