"""The contract of a pruner: what it may know when trials arrive at a rung, and what it may decide.

Both are values, so that a pruner can be asked in a test or a simulator with plain tuples, and both are where
a pruner that wants more (losses by example, say) finds or says it; the others need not change. One that lets
trials wait also says which of them go on, and which never will.
Optuna's pruners, asked slot by slot in a pack that arrives together, stop three of four or none of the same
four losses, by the order of asking; ours give the same answer for every order.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Protocol

from ...study.budget import RUNGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Trials that have just arrived at a rung, and all that is known of those before them."""

    rung: int
    """The rung, one of ``RUNGS``."""
    arrived: frozenset[int]
    """The numbers of those that have just arrived and are still good."""
    losses: Mapping[int, Mapping[int, float]]
    """By rung, the eval loss of every trial that ever reached it, the arrived ones included; one that was not
    finite is infinite."""

    def __post_init__(self) -> None:
        assert self.rung in RUNGS, f"{self.rung} is no rung"
        assert not any(math.isnan(loss) for loss in self.here.values()), "NaN has no rank"
        assert self.arrived <= self.here.keys(), "who arrived at a rung has a loss there"

    @property
    def here(self) -> Mapping[int, float]:
        """The losses at this rung."""
        return self.losses.get(self.rung, {})

    def only(self, trials: Collection[int]) -> Arrivals:
        """Return the same as if there were no other trials than these."""
        return Arrivals(
            rung=self.rung,
            arrived=self.arrived & frozenset(trials),
            losses={
                rung: {trial: loss for trial, loss in losses.items() if trial in trials}
                for rung, losses in self.losses.items()
            },
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What is to become of trials at a rung; who is not named goes on."""

    stop: frozenset[int] = frozenset()
    """Those that end here, all of them among the arrived."""
    wait: frozenset[int] = frozenset()
    """Those that give up their place until ``Promoter.earned`` names them, all of them among the arrived."""


class Pruner(Protocol):
    """What decides; made of its settings, keeps nothing between rungs."""

    def decide(self, arrivals: Arrivals) -> Decision:
        """Return what is to become of the arrivals.

        Must be a function of its argument alone, and must not depend on the order of anything in it.
        """


class Promoter(Pruner, Protocol):
    """A pruner that lets trials wait; each answer is a function of its arguments alone, whatever their order.

    ``waiting`` are the trials that wait, each at the highest rung that it has reached; ``losses`` holds by
    rung the eval loss of every trial that ever reached it.
    """

    def earned(self, waiting: Collection[int], losses: Mapping[int, Mapping[int, float]]) -> tuple[int, ...]:
        """Return those that go on wherever a place is free, in the order in which they are given one."""

    def foremost(
        self, waiting: Collection[int], losses: Mapping[int, Mapping[int, float]]
    ) -> tuple[int, ...]:
        """Return all that wait, the one first that is given a place where none has earned it."""

    def hopeless(
        self,
        waiting: Collection[int],
        losses: Mapping[int, Mapping[int, float]],
        to_come: Mapping[int, int],
    ) -> frozenset[int]:
        """Return those that will never earn a place; ``to_come``: by rung, how many may still reach it."""
