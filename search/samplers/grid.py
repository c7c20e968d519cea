"""Every combination of a grid once: lists are taken whole, ranges in a few points with both ends.

The order is spread over the grid (a step of about the golden ratio of its size), so that a study of fewer
trials than the grid has points sees all of it coarsely. What was tried before, by whomever, is left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ...study.samplers import Grid
from .base import Ask, Past

SAME = 1e-9
"""Two floats nearer than this, relative, are the same point: a ratio comes back from its product rounded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GridSampler:
    """See ``base.Sampler``."""

    settings: Grid
    """What it goes by."""

    def suggest(self, ask: Ask, history: Sequence[Past]) -> tuple[dict[str, Any], str] | None:
        """Return the first point of the order that was not tried, None where all were."""
        axes = {
            name: axis(distribution, self.settings.points) for name, distribution in ask.distributions.items()
        }
        tried = {_place(axes, past.suggestion) for past in history}
        for place in _order(tuple(len(values) for values in axes.values()), ask.seed):
            if place not in tried:
                point = {name: values[at] for (name, values), at in zip(axes.items(), place, strict=True)}
                return point, self.settings.name
        return None


def axis(distribution: BaseDistribution, points: int) -> list[Any]:
    """Return the values of one dimension: all of a list, of a range so many, even on its scale."""
    if isinstance(distribution, IntDistribution):
        return list(range(distribution.low, distribution.high + 1))
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution), f"unknown distribution {distribution!r}"
    low, high = distribution.low, distribution.high
    scale, back = (math.log, math.exp) if distribution.log else (float, float)
    if points == 1:
        return [min(max(back((scale(low) + scale(high)) / 2), low), high)]
    inside = [
        back(scale(low) + at / (points - 1) * (scale(high) - scale(low))) for at in range(1, points - 1)
    ]
    return [low, *inside, high]


def _order(sizes: tuple[int, ...], seed: int) -> Iterator[tuple[int, ...]]:
    """Yield the place of every point once, from one that the seed chooses."""
    count = math.prod(sizes)
    begin = int(np.random.default_rng(seed).integers(count))
    step = round(count * (math.sqrt(5) - 1) / 2) or 1
    while math.gcd(step, count) != 1:
        step += 1
    for at in range(count):
        rest, place = (begin + at * step) % count, []
        for size in sizes:
            rest, here = divmod(rest, size)
            place.append(here)
        yield tuple(place)


def _place(axes: Mapping[str, list[Any]], suggestion: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return where a suggestion lies on the grid, None where it lies beside it."""
    place = []
    for name, values in axes.items():
        value = suggestion[name]
        at = next((at for at, one in enumerate(values) if one == value or _near(one, value)), None)
        if at is None:
            return None
        place.append(at)
    return tuple(place)


def _near(one: object, other: object) -> bool:
    return isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=SAME)
