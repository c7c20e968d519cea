"""How long training takes at the speed that was measured: no worker trains more than there is to train."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..search.concurrency import in_flight_limit
from ..study.facts import Facts
from ..study.ladder import Ladder, Step
from .places import cores


def at_once(facts: Facts, *, trials: int, workers: int) -> int:
    """Return how many trials of a search are trained at once."""
    return min(workers * facts.slots, in_flight_limit(trials, workers if facts.model.on_gpu else 1))


def speed(facts: Facts, *, trials: int, workers: int) -> float:
    """Return the training examples per second of all workers together with so many trials at once.

    Workers beyond the GPUs that the speed was measured beside, or the cores that this process may use, take
    turns on them.
    """
    there = facts.gpus if facts.model.on_gpu else cores()
    busy = max(1, min(workers, trials, there))
    return busy * facts.rate(min(facts.slots, math.ceil(trials / busy)))


def training_seconds(ladder: Ladder, facts: Facts, *, trials: int, workers: int) -> float:
    """Return how long it takes to train everything that was planned; evaluations take more.

    ``trials`` are those of the search.
    """
    together = at_once(facts, trials=trials, workers=workers)
    searching = ladder.searching / speed(facts, trials=together, workers=workers)
    return searching + steps_seconds(ladder, ladder.planned(trials), facts, workers=workers)


def steps_seconds(
    ladder: Ladder, steps: Iterable[Step], facts: Facts, *, workers: int, beside: float = 0
) -> float:
    """Return how long it takes to train the trials of steps, one step after the other.

    ``beside`` are examples that each of them costs beside those that it is trained on.
    """
    return math.fsum(
        step.count
        * (ladder.new_examples(step.level) + beside)
        / speed(facts, trials=step.count, workers=workers)
        for step in steps
    )
