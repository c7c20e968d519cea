"""Whom to stop at a rung: asynchronous successive halving, as a pure function of the rung's values.

Optuna's own pruner, asked slot by slot in a pack that arrives together, stops three of four or none of
the same four losses, by the order of asking; this one gives the same answer for every order.
Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (ASHA), MLSys 2020; the
stopping variant: a trial is judged once, when it arrives, and never paused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from ..spaces.params import LoraParams
from ..study.budget import ROUNDS
from ..study.choices import Pruner

STOP_RUNGS = (2, 4)
"""Rounds after which a trial may be stopped: after a quarter and after half of its budget. Not after the
first, where warmup and the first steps still show, nor after the last, where nothing is left to save."""

REDUCTION = 2
"""Eta, the reduction factor: the better half of all trials that ever reached a rung goes on. With two
rungs a study of many trials costs about half of its full budget; a greater factor would save more, but
stop good trials whose loss falls late."""

PEERS = 4
"""Nobody is stopped before this many others have reached the rung."""


def decide(
    round_number: int,
    values: Mapping[int, float],
    arrived: Collection[int],
    exempt: Collection[int] = (),
    pruner: Pruner = "asha",
) -> frozenset[int]:
    """Return the trials to stop among those that have just arrived at a rung.

    ``values`` holds the eval loss at that rung of every trial that ever reached it, the arrived ones
    included; one that was not finite counts as infinite. A trial is stopped where ``ceil(n / REDUCTION)``
    of the n values are below its own: so the best is never stopped, equals share their fate, and the
    answer does not depend on the order of the slots. ``exempt`` trials are measured, never stopped.

    >>> sorted(decide(2, {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 4: 5.0}, arrived={1, 3, 4}))
    [3, 4]
    """
    assert not any(math.isnan(value) for value in values.values()), "NaN has no rank"
    if pruner == "none" or round_number not in STOP_RUNGS or len(values) <= PEERS:
        return frozenset()
    last_to_go_on = sorted(values.values())[math.ceil(len(values) / REDUCTION) - 1]
    return frozenset(trial for trial in arrived if trial not in exempt and values[trial] > last_to_go_on)


def in_warmup(params: LoraParams, round_number: int) -> bool:
    """Return whether a trial's learning rate was still rising in that round: its loss says little yet."""
    return params.warmup_ratio * ROUNDS > round_number
