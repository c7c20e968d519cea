"""Which trials wait for a place: paused at a rung, neither trained nor ended, until others prove worse.

Nothing of it is stored. A running trial that stands at a rung where it is paused waits unless it is among
the best of all that ever reached that rung, which the record alone says; so whoever reads it, after a kill
or from another process, finds the same trials waiting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..spaces.params import LoraParams
from .budget import ROUNDS, RUNGS
from .pruners import PrunerSettings
from .records import CurvePoint, TrialRecord

if TYPE_CHECKING:
    from ..spaces.space import SearchSpace  # it loads what a list need not wait for


def in_warmup(params: LoraParams, round_number: int) -> bool:
    """Return whether a trial's learning rate was still rising in that round: its loss says little yet."""
    return params.warmup_ratio * ROUNDS > round_number


def pauses(trial: TrialRecord, round_number: int, pruner: PrunerSettings) -> bool:
    """Return whether a trial gives up its place after that round.

    The default never does, since all are compared with it, nor one whose learning rate still rises.
    """
    return (
        pruner.pauses_at(round_number)
        and trial.source != "default"
        and not in_warmup(trial.params, round_number)
    )


def paused_at(trial: TrialRecord, pruner: PrunerSettings) -> int | None:
    """Return the rung where a trial stands and goes on from only once it is given a place again."""
    stands = trial.state == "running" and pauses(trial, trial.rounds, pruner)
    return trial.rounds if stands else None


def next_pause(trial: TrialRecord, pruner: PrunerSettings) -> int:
    """Return after how many rounds a trial that trains is paused next; those of a whole one if never."""
    later = range(trial.rounds + 1, ROUNDS)
    return next((round_number for round_number in later if pauses(trial, round_number, pruner)), ROUNDS)


def latest_first_pause(space: SearchSpace, pruner: PrunerSettings) -> int:
    """Return after how many rounds a trial of a space is paused first at the latest."""
    longest = float(space["warmup_ratio"].bounds[1])
    later = (rung for rung in RUNGS if pruner.pauses_at(rung) and longest * ROUNDS <= rung)
    return next(later, ROUNDS)


def leading(losses: Mapping[int, float], factor: int) -> tuple[int, ...]:
    """Return the best 1 in ``factor`` of all that ever reached a rung, best first.

    Ties go to the lower number.

    >>> leading({0: 2.0, 1: 1.0, 2: 3.0, 3: 1.0, 4: 4.0, 5: 5.0, 6: 6.0}, 3)
    (1, 3)
    """
    return in_order(losses)[: len(losses) // factor]


def in_order(losses: Mapping[int, float]) -> tuple[int, ...]:
    """Return the trials of a rung, best first; ties go to the lower number."""
    return tuple(sorted(losses, key=lambda trial: (losses[trial], trial)))


def rank_in(losses: Mapping[int, float], trial: int) -> int:
    """Return a trial's place among those of a rung, from 1; equals share it."""
    return 1 + sum(loss < losses[trial] for loss in losses.values())


def comparable(eval_loss: float | None) -> float:
    """Return a loss as it is compared: one that was not finite is infinite."""
    return math.inf if eval_loss is None else eval_loss


def rung_losses(curve: Iterable[CurvePoint]) -> dict[int, dict[int, float]]:
    """Return by rung the loss of every trial that reached it; one that was not finite is infinite."""
    found: dict[int, dict[int, float]] = {}
    for point in curve:
        if point.round in RUNGS:
            found.setdefault(point.round, {})[point.trial] = comparable(point.eval_loss)
    return found


def waiting(
    trials: Iterable[TrialRecord], losses: Mapping[int, Mapping[int, float]], pruner: PrunerSettings
) -> dict[int, int]:
    """Return the trials that wait by the record, each with its rung.

    ``losses`` holds by rung those of all trials that ever reached it. One that was given its place and has
    not ended a round since is seen by its rank: it trains.
    """
    if not pruner.pausing:
        return {}
    best = {rung: frozenset(leading(here, pruner.one_in)) for rung, here in losses.items()}
    found = ((trial.number, paused_at(trial, pruner)) for trial in trials)
    return {number: rung for number, rung in found if rung is not None and number not in best.get(rung, ())}
