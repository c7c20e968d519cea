"""What becomes of the trials that reached a round's end: diverged, stopped, complete, or on they go.

Pure, and a function of the record alone: asked again after a crash, it says the same again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

from ..spaces.params import LoraParams
from ..study.budget import ROUNDS, RUNGS
from ..study.events import TrialEnded
from ..study.pruners import STOP_RUNGS
from ..study.records import State
from ..study.waiting import in_warmup, rank_in
from .pruners.base import Arrivals, Pruner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrival:
    """A trial at the end of a round."""

    trial: int
    """Its number."""
    params: LoraParams
    """Its hyperparameters."""
    round: int
    """1 to 8; so many rounds are done."""
    eval_loss: float | None
    """Mean loss of the round's evaluation; None where none was due or it was not finite."""
    diverged: str | None
    """Why it cannot go on, in the worker's words."""
    final_loss: float | None = None
    """Loss of the weights that it keeps, where it is a trial of full length and has ended."""
    score: float | None = None
    """What the study selects by, more is better; None where that is the loss or it was not measured."""
    never_stopped: bool = False
    """Whether it is to run to its end whatever the others do."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a trial ended."""

    trial: int
    """Its number."""
    state: State
    """``complete``, ``pruned`` or ``diverged``."""
    reason: str | None
    """Why, in words; None for ``complete``."""
    value: float | None
    """Final eval loss of a complete trial."""
    score: float | None = None
    """What the study selects by, of a complete trial, where that is not the loss."""

    @property
    def event(self) -> TrialEnded:
        """As observers are told, once it is recorded."""
        return TrialEnded(
            trial=self.trial, state=self.state, reason=self.reason, value=self.value, score=self.score
        )


def explosion(eval_loss: float, base_loss: float) -> str | None:
    """Return why a finite loss shows that a trial has diverged, or None.

    A perplexity ten times the base model's is training that did harm. Beside a guess at random it would
    often look good: a broken model still learns how often each token occurs.
    """
    limit = base_loss + math.log(10)
    if eval_loss <= limit:
        return None
    return f"eval loss {eval_loss:.4g} is above {limit:.4g}: ten times the base model's perplexity"


def judge(
    arrivals: Sequence[Arrival],
    rungs: Mapping[int, Mapping[int, float]],
    *,
    base_loss: float,
    pruner: Pruner,
    due: Collection[int] = RUNGS,
) -> tuple[Verdict, ...]:
    """Return the endings among the arrivals, in order of their numbers; who is not named goes on.

    ``rungs`` holds, by round, the loss of every trial that ever reached it, the arrivals included; ``due``
    are the rounds after which trials are evaluated.
    """
    found: dict[int, Verdict] = {}
    for arrival in arrivals:
        reason = _why_diverged(arrival, base_loss, due)
        if reason is not None:
            found[arrival.trial] = Verdict(trial=arrival.trial, state="diverged", reason=reason, value=None)
        elif arrival.round == ROUNDS or arrival.final_loss is not None:
            value = arrival.eval_loss if arrival.final_loss is None else arrival.final_loss
            found[arrival.trial] = Verdict(
                trial=arrival.trial, state="complete", reason=None, value=value, score=arrival.score
            )
    for round_number in STOP_RUNGS:
        going = {a.trial: a for a in arrivals if a.round == round_number and a.trial not in found}
        values = rungs.get(round_number, {})
        decision = pruner.decide(Arrivals(rung=round_number, arrived=frozenset(going), losses=rungs))
        for trial in decision.stop:
            if going[trial].never_stopped or in_warmup(going[trial].params, round_number):
                continue  # it is measured, and others are compared with it
            found[trial] = Verdict(
                trial=trial, state="pruned", reason=behind(values, trial, round_number), value=None
            )
    return tuple(found[trial] for trial in sorted(found))


def behind(losses: Mapping[int, float], trial: int, round_number: int) -> str:
    """Return in words why a trial was stopped at a rung; ``losses``: of all that ever reached it."""
    rank = rank_in(losses, trial)
    return f"eval loss {losses[trial]:.4f} was {rank} of {len(losses)} after round {round_number}"


def _why_diverged(arrival: Arrival, base_loss: float, due: Collection[int]) -> str | None:
    if arrival.diverged is not None:
        return arrival.diverged
    if arrival.round not in due:
        return None
    if arrival.eval_loss is None:
        return f"the eval loss was not finite after round {arrival.round}"
    return explosion(arrival.eval_loss, base_loss)
