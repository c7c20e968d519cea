"""The contract of a sampler, and what one may know.

A sampler is made anew for each ask and draws only from (study seed, trial number, tries): so a resumed study
asks exactly what an uninterrupted one would have asked, and no replayed random state can repeat its start.
Knows nothing of workers or databases, nor any sampler by name.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution

from ...study.records import State

Suggestion = Mapping[str, Any]
"""A point of the space as ``SearchSpace.decode`` takes it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
    """What the sampler may know of an earlier trial."""

    suggestion: Mapping[str, Any]
    """Its parameters as ``SearchSpace.encode`` gives them; all of them, else TPE's joint space collapses."""
    state: State
    """Where it stands."""
    value: float | None = None
    """Final eval loss of a complete trial."""
    curve: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Its finite eval losses by round."""

    @functools.cached_property
    def worst(self) -> float | None:
        """The greatest loss it ever had."""
        return max((*self.curve.values(), *(() if self.value is None else (self.value,))), default=None)

    @functools.cached_property
    def rank(self) -> tuple[float, float]:
        """Its place among ended trials, the best first, as TPE orders them: complete ones by their value,
        then those that were stopped, the latest first; what broke down comes last."""
        if self.state == "complete" and self.value is not None:
            return -math.inf, self.value
        if self.state == "pruned" and self.curve:
            last = max(self.curve)
            return -last, self.curve[last]
        return -1, math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked of a sampler."""

    distributions: dict[str, BaseDistribution]
    """What varies, by name; at least one."""
    number: int
    """That of the trial."""
    seed: int
    """That of the study."""
    tries: int = 0
    """How many duplicates were proposed for this number before."""

    @property
    def entropy(self) -> tuple[int, int, int]:
        """All that may make one draw other than another: study seed, trial number, tries."""
        return self.seed, self.number, self.tries

    @property
    def word(self) -> int:
        """The same as one number of 32 bits, for a library that takes such a seed."""
        return int(np.random.SeedSequence(self.entropy).generate_state(1)[0])


class Sampler(Protocol):
    """What proposes trials; made of its settings, keeps nothing between asks."""

    def suggest(self, ask: Ask, history: Sequence[Past]) -> tuple[Suggestion, str] | None:
        """Return a point of the space and who found it, or None where nothing is left that it would try.

        ``history`` holds every trial so far in the order of asking; who found it is the sampler's own name,
        or ``startup``, or ``random``. Must be a function of its arguments alone.
        """
