"""A scrambled Halton sequence: point n follows from n alone, so there is nothing to replay.

Optuna's own needs scipy, counts its points in the study's attributes and begins with a point at a corner.
Source: Halton, "On the Efficiency of Certain Quasi-Random Sequences of Points", Numerische Mathematik 1960;
scrambled as in Owen, "A Randomized Halton Algorithm in R", arXiv 1706.02808: each digit permuted by itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...study.samplers import Qmc
from .base import Ask, Past
from .points import suggestion_at

BITS = 52
"""Precision of a coordinate, as a float has it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QmcSampler:
    """See ``base.Sampler``."""

    settings: Qmc
    """It goes by nothing."""

    def suggest(self, ask: Ask, _history: Sequence[Past]) -> tuple[dict[str, Any], str]:
        """Return the point of this trial's number; another scrambling's after a duplicate."""
        point = halton(ask.number, len(ask.distributions), seed=(ask.seed, ask.tries))
        return suggestion_at(ask.distributions, point), self.settings.name


def halton(index: int, dimensions: int, *, seed: tuple[int, ...]) -> list[float]:
    """Return point ``index`` of the scrambled sequence, each coordinate from 0 to below 1.

    >>> sorted(int(4 * halton(index, 1, seed=(7,))[0]) for index in range(4))  # each quarter once
    [0, 1, 2, 3]
    """
    rng = np.random.default_rng(seed)
    return [_coordinate(index, base, rng) for base in _primes(dimensions)]


def _coordinate(index: int, base: int, rng: np.random.Generator) -> float:
    """Return the digits of an index in a base, each permuted, behind the point."""
    found, weight = 0.0, 1.0
    for _ in range(math.ceil(BITS / math.log2(base))):
        permuted = rng.permutation(base)
        index, digit = divmod(index, base)
        weight /= base
        found += weight * int(permuted[digit])
    return min(found, math.nextafter(1.0, 0.0))


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found
