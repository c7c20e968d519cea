"""Points of the unit cube: as suggestions, and as even starts that need no losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from .base import Ask

STRATA = 10
"""Points of one Latin hypercube."""


def stratified(ask: Ask) -> dict[str, Any]:
    """Return point ``number`` of a Latin hypercube: every ten trials visit each tenth of each range once.

    Source: McKay, Beckman and Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables", Technometrics 1979. For ten points it fills each range more evenly than a Sobol sequence,
    whose balance comes in powers of two.
    """
    dimensions = len(ask.distributions)
    block, index = divmod(max(ask.number, 1) - 1, STRATA)
    rng = np.random.default_rng((ask.seed, block, ask.tries))
    strata = rng.permuted(np.tile(np.arange(STRATA), (dimensions, 1)), axis=1)[:, index]
    inside = rng.random((dimensions, STRATA))[:, index]
    return suggestion_at(ask.distributions, (strata + inside) / STRATA)


def drawn(ask: Ask) -> dict[str, Any]:
    """Return a point drawn uniformly."""
    return suggestion_at(ask.distributions, np.random.default_rng(ask.entropy).random(len(ask.distributions)))


def suggestion_at(distributions: Mapping[str, BaseDistribution], point: Iterable[float]) -> dict[str, Any]:
    """Return the suggestion at a point of the unit cube; each choice has an equal share of its side."""
    suggestion: dict[str, Any] = {}
    for (name, distribution), share in zip(distributions.items(), map(float, point), strict=True):
        if isinstance(distribution, FloatDistribution):
            low, high = distribution.low, distribution.high
            if distribution.log:
                value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
            else:
                value = low + share * (high - low)
            suggestion[name] = min(max(value, low), high)
        elif isinstance(distribution, IntDistribution):
            count = distribution.high - distribution.low + 1
            suggestion[name] = distribution.low + min(int(share * count), count - 1)
        elif isinstance(distribution, CategoricalDistribution):
            count = len(distribution.choices)
            suggestion[name] = distribution.choices[min(int(share * count), count - 1)]
        else:
            raise AssertionError(f"{name}: unknown distribution {distribution!r}")
    return suggestion
