"""How a search spends a number of training examples on the way to one model that is trained to the end.

The search itself is the lowest step. The trials of each step after it are twice as long and go on from where
those below began to let their learning rate fall; fewer go up each time. The last step is one trial,
three times as long. Pure arithmetic on the record: whoever resumes comes to the same steps. docs/search.md
says what was measured.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ..errors import BudgetError
from ..nouns import numbered
from ..spaces.params import LoraParams
from ..spaces.space import SearchSpace
from .budget import BEFORE_DECAY, ROUNDS
from .pruners import PrunerSettings

FACTOR = 2
"""A step's trials are this many times as long as those below it."""

LAST_FACTOR = 3
"""The last step's trial is so: what is spent on choosing at half its length goes into a longer one."""

FINAL = 0.5
"""How long the last trial is, as a share of all examples, as near as lengths allow."""

FINAL_BEFORE = 0.42
"""What that was when the last trial was twice as long as those below it."""

LEAST_SEARCHING = 0.15
"""The share of all examples that is left to the search at least."""

SETTLES = 50
"""Looks at most at how many trials are paid: what is trained of them hangs on how many there are."""

LOWER = 0.5
"""The learning rate at which the default, and the best of each step, is tried too, as a share of its own."""

KEPT = 8
"""At most so many trials of the search go up the first step."""

COUNTS = (1, 2, 2, 3, 4)
"""How many trials the last step has, the one before it, and so on down; the last number goes on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """The next step up."""

    level: int
    """How many steps above the search."""
    count: int
    """How many trials go up to it."""
    examples: int
    """Training examples of each, from its beginning."""
    last: bool
    """Whether nothing comes after it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder:
    """What the user gave for everything, and how it is shared out; stored with the study."""

    examples: int
    """Training examples in all: the search and every step above it."""
    trial: int
    """Training examples of a trial of the search."""
    steps: int
    """How many steps there are above the search; 0: all of it is the search's."""
    counts: tuple[int, ...] = COUNTS
    """How many trials each step has, from the last one down."""
    last_factor: int = FACTOR
    """How many times as long the last step's trial is as those below it; older ladders know of no other."""
    hours: float | None = None
    """The time that the examples were worked out from, where the user gave that."""

    @property
    def final(self) -> int:
        """Training examples of the last trial, from its beginning."""
        return self._length(self.steps)

    @property
    def kept(self) -> int:
        """How many of the search's best trials keep the state that a longer one goes on from."""
        return KEPT if self.steps else 0

    @property
    def searching(self) -> int:
        """Training examples that the search itself may take: what the steps above it leave."""
        return self.examples - sum(self._cost(level) for level in range(1, self.steps + 1))

    def most_trials(self, pruner: PrunerSettings) -> int:
        """Return how many trials the search has: as many as it can pay where the usual share is trained."""
        trials = 2
        for _ in range(SETTLES):
            before, share = trials, pruner.trained_share(trials)
            trials = max(2, math.ceil(self.searching / (share * self.trial)))
            if trials == before:
                break
        return trials

    def planned(self, trials: int) -> tuple[Step, ...]:
        """Return every step as it comes where the search takes all that it may and has so many trials."""
        return tuple(
            Step(
                level=up,
                # More cannot go up than there are below.
                count=min(self._count(self.steps - up), trials),
                examples=self._length(up),
                last=up == self.steps,
            )
            for up in range(1, self.steps + 1)
        )

    def next_step(self, *, level: int, spent: int, candidates: int) -> Step | None:
        """Return the step above ``level``, None where the last one is done or no other can be paid.

        Args:
            level: how far up one is; 0: the search has ended.
            spent: examples that have been trained so far, in all.
            candidates: trials that could go up.
        """
        up, left = level + 1, self.examples - spent
        if level >= self.steps or not candidates:
            return None
        # Where less is left than was planned, as when hours run out: one trial a step, then fewer steps.
        for top in range(self.steps, level, -1):
            for count in (self._count, _one):
                spare = left - sum(
                    count(top - above) * self.new_examples(above) for above in range(up, top + 1)
                )
                if spare < 0:
                    continue
                wanted = count(top - up)
                if up == 1 < top and count is not _one:
                    # What the search left over lets more go up the first step, where they cost least.
                    wanted = min(KEPT, wanted + int(spare / self.new_examples(up)))
                return Step(
                    level=up,
                    count=min(wanted, candidates),
                    examples=self._length(up),
                    last=up == self.steps,
                )
        return None

    def _count(self, below_last: int) -> int:
        return self.counts[min(below_last, len(self.counts) - 1)]

    def times(self, level: int) -> int:
        """Return how many times as long as one of the search a trial of a step is; 1 for level 0."""
        return math.prod(self._factor(up) for up in range(1, level + 1))

    def begins(self, level: int) -> int:
        """Return how many rounds of its own length a trial has done when it comes from the step below."""
        return BEFORE_DECAY // self._factor(level)

    def new_examples(self, level: int) -> int:
        """Return the examples that one trial of a step costs."""
        return math.ceil((ROUNDS - self.begins(level)) * self._length(level) / ROUNDS)

    def _factor(self, level: int) -> int:
        return self.last_factor if level == self.steps else FACTOR

    def _length(self, level: int) -> int:
        return self.trial * self.times(level)

    def _cost(self, level: int) -> int:
        return self._count(self.steps - level) * self.new_examples(level)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**vars(self), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ladder:
        """Make one from what ``to_json`` returned; raises what a wrong type raises."""
        return cls(**{**values, "counts": tuple(values["counts"])})


def _one(_below_last: int) -> int:
    return 1


def at_lower_rate(params: LoraParams, space: SearchSpace) -> LoraParams | None:
    """Return a configuration at ``LOWER`` of its learning rate; None where the space has no such rate."""
    lower = dataclasses.replace(params, learning_rate=LOWER * params.learning_rate)
    return lower if space.closest(lower).learning_rate == lower.learning_rate else None


def plan_ladder(
    examples: int,
    *,
    trial: int,
    multiple: int,
    given: bool = False,
    hours: float | None = None,
    as_before: bool = False,
) -> Ladder:
    """Return how so many examples are spent.

    The search's trials are between half of ``trial`` and all of it, whatever comes out nearest to the wanted
    length of the last one; just that, rounded up to ``multiple``, where the user gave it.

    Args:
        examples: training examples in all.
        trial: training examples of a trial of an ordinary search.
        multiple: what a trial's examples must be a multiple of.
        given: whether the user chose the length of a trial.
        hours: the time that ``examples`` were worked out from.
        as_before: as ladders were planned whose last trial is twice as long as those below it.

    Raises:
        BudgetError: they are too few for a search of two trials.
    """
    # As a study's budget rounds it; else a step would not be of whole rounds of the one below.
    longest = -(-trial // multiple) * multiple
    shortest = longest if given else max(multiple, longest // 2 // multiple * multiple)
    lengths = range(shortest, longest + 1, multiple)
    last_factor, final = (FACTOR, FINAL_BEFORE) if as_before else (LAST_FACTOR, FINAL)
    found = [
        Ladder(examples=examples, trial=length, steps=steps, last_factor=last_factor, hours=hours)
        for length in lengths
        for steps in range(1 + max(0, int(math.log2(examples / longest))))
    ]
    enough = [one for one in found if one.searching >= max(2 * one.trial, LEAST_SEARCHING * examples)]
    if not enough:
        least = 2 * lengths[0]
        said = numbered(examples, "training example")
        if hours is None:
            raise BudgetError(
                f"{said} in all: a search of two trials takes {least}; give at least as many "
                "(--examples-in-all), or a number of --trials"
            )
        raise BudgetError(
            f"{hours:g} hours come to {said}, and a search of two trials takes {least}; give about "
            f"{hours * least / examples:.1g} hours or more (--hours), or a number of --trials"
        )
    return min(enough, key=lambda one: abs(math.log(one.final / (final * examples))))
