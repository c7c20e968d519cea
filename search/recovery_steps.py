"""What follows when a worker dies, does not start, or cannot take a trial up.

Pure: (state, failure) → (state, actions). Trials go on from their last checkpoints; one that keeps killing
workers fails alone. ``recovery.py`` carries the actions out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from .limits import Limits
from .passes import Passes, after_leaving, after_prepare_ran_out, after_worker_died


@dataclasses.dataclass(frozen=True, kw_only=True)
class Health:
    """Where a worker stands, and what went wrong before."""

    passes: Passes
    """How many trials it trains at once, and who is tried apart."""
    failed_starts: int = 0
    """Starts in a row that failed."""
    killers: int = 0
    """Trials in a row, of all workers, that were found to kill theirs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Died:
    """A worker died, or was ended because it fell silent."""

    pack: tuple[int, ...]
    """The trials inside."""
    reason: str
    """What became of it."""
    out_of_memory: bool = False
    """Whether memory ran out."""
    killed: bool = False
    """Whether another process ended it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NotStarted:
    """A worker did not come up."""

    reason: str
    """Why."""
    out_of_memory: bool = False
    """Whether memory ran out."""
    killed: bool = False
    """Whether another process ended it."""
    final: bool = False
    """Whether trying again is of no use."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateLost:
    """A worker could not take a trial up."""

    trial: int
    """Its number."""
    reason: str
    """What was wrong with its state."""
    from_scratch: bool
    """Whether it was to begin, so that no state can have been the matter."""


Failure = Died | NotStarted | StateLost


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitSlots:
    """Keep with the study that memory takes no more trials at once."""

    slots: int
    """So many."""
    reason: str
    """What ran out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndTrial:
    """End a trial that has no result."""

    trial: int
    """Its number."""
    state: Literal["failed", "infeasible"]
    """How it ends."""
    reason: str
    """Why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetBack:
    """Let a trial go on from an older state."""

    trial: int
    """Its number."""
    reason: str
    """What was wrong with the last one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TryAgain:
    """Say that a worker did not come up and is started again."""

    reason: str
    """Why it did not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GiveUp:
    """Use the worker no more."""

    reason: str
    """Why it did not come up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndSearch:
    """Trial after trial kills its worker: the machine is to blame, not they."""

    reason: str
    """The sentence to end with."""


Action = LimitSlots | EndTrial | SetBack | TryAgain | GiveUp | EndSearch


def recover(health: Health, failure: Failure, limits: Limits) -> tuple[Health, tuple[Action, ...]]:
    """Return where the worker stands after a failure, and what is to be done about it, in order.

    >>> from .passes import beginning
    >>> alone = Health(passes=beginning(1))
    >>> _, actions = recover(alone, NotStarted(reason="no such program"), Limits(starts=1))
    >>> actions
    (GiveUp(reason='no such program'),)
    """
    match failure:
        case StateLost(trial=trial, reason=reason):
            if not failure.from_scratch:
                return health, (SetBack(trial=trial, reason=reason),)
            left = dataclasses.replace(health, passes=after_leaving(health.passes, trial))
            return left, (EndTrial(trial=trial, state="failed", reason=reason),)
        case NotStarted():
            return _after_no_start(health, failure, limits)
        case Died():
            return _after_death(health, failure, limits) if failure.pack else (health, ())


def _after_no_start(health: Health, failure: NotStarted, limits: Limits) -> tuple[Health, tuple[Action, ...]]:
    reason = failure.reason
    if failure.out_of_memory and health.passes.slots > 1:
        fewer = after_prepare_ran_out(health.passes, health.passes.slots)
        return dataclasses.replace(health, passes=fewer), (LimitSlots(slots=fewer.slots, reason=reason),)
    health = dataclasses.replace(health, failed_starts=health.failed_starts + 1)
    patience = limits.killed_starts if failure.killed else limits.starts
    if failure.out_of_memory or failure.final or health.failed_starts >= patience:
        return health, (GiveUp(reason=reason),)
    return health, (TryAgain(reason=reason),)


def _after_death(health: Health, failure: Died, limits: Limits) -> tuple[Health, tuple[Action, ...]]:
    response = after_worker_died(
        health.passes, failure.pack, out_of_memory=failure.out_of_memory, killed=failure.killed
    )
    health = dataclasses.replace(health, passes=response.passes)
    found: tuple[Action, ...] = ()
    if response.slots is not None:
        found = (LimitSlots(slots=response.slots, reason=failure.reason),)
    trial = response.blamed
    if trial is None:
        return health, found
    health = dataclasses.replace(health, passes=after_leaving(health.passes, trial))
    if response.state == "infeasible":
        reason = f"does not fit into memory, even alone: {failure.reason}"
        return health, (*found, EndTrial(trial=trial, state="infeasible", reason=reason))
    health = dataclasses.replace(health, killers=health.killers + 1)
    if health.killers >= limits.failures:
        reason = (
            f"{health.killers} trials in a row killed their workers, the last so: {failure.reason}; "
            "mend the cause, then tune resume goes on"
        )
        return health, (*found, EndSearch(reason=reason))
    return health, (
        *found,
        EndTrial(trial=trial, state="failed", reason=f"kills its worker: {failure.reason}"),
    )
