"""Whether another trial may begin: how many at once, which was there before, when the space is exhausted.

Pure; the numbers come from the record alone, so that an interrupted study admits what it would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ..spaces.params import FIELDS, LoraParams

IN_FLIGHT = 4
"""At most one in this many of all the trials is in flight: TPE learns little from what has not ended."""

FED = 4
"""Trials that a GPU of several is to have, where that is no more than half of all: one trial alone leaves it
idle for most of the time, and four take hardly longer (docs/benchmarks.md)."""

DUPLICATES = 20
"""After this many duplicates in a row the space counts as exhausted."""


def in_flight_limit(trials: int, gpus: int = 1) -> int:
    """Return how many trials may run at once in a study of that many: a quarter, at least 1.

    On several GPUs as many more as feed them all, up to half of the trials (docs/search.md says what that
    costs the sampler).

    >>> in_flight_limit(100), in_flight_limit(6), in_flight_limit(1)
    (25, 2, 1)
    >>> in_flight_limit(100, gpus=8), in_flight_limit(24, gpus=8), in_flight_limit(100, gpus=2)
    (32, 12, 25)
    """
    quarter = max(1, math.ceil(trials / IN_FLIGHT))
    return quarter if gpus == 1 else max(quarter, min(math.ceil(trials / 2), FED * gpus))


def share_of_worker(slots: int, limit: int, workers: int) -> int:
    """Return how many trials one of several workers takes, so that a low limit feeds them all alike.

    >>> share_of_worker(8, 6, 2), share_of_worker(4, 25, 2), share_of_worker(8, 1, 2)
    (3, 4, 1)
    """
    return max(1, min(slots, math.ceil(limit / workers)))


def twin_of(params: LoraParams, tried: Mapping[LoraParams, int]) -> int | None:
    """Return the number of the earlier trial of the same parameters, or None.

    Targets are compared as sets of modules: ``q_proj,v_proj`` is ``v_proj,q_proj``.
    """
    return tried.get(canonical(params))


def canonical(params: LoraParams) -> LoraParams:
    """Return parameters that are equal for all spellings of the same configuration."""
    values = params.to_dict().items()
    return LoraParams.from_dict({name: FIELDS[name].kind.canonical(value) for name, value in values})
