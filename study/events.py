"""What happens to a study while it runs, as values: told to observers, after the commit.

Knows no sentences (``sentences.py`` makes them) and writes nothing down: the record is the store's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol

from ..spaces.params import LoraParams
from .records import CurvePoint, Standing, State, count_ended

Why = Literal["complete", "exhausted", "interrupted", "timeout"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyStarted:
    """A run of a study begins, the first or a later one."""

    study: str
    """The study's name."""
    trials: int
    """How many trials it is to have in all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyResumed:
    """A study that had trials goes on: a worker has found its model and data unchanged."""

    ended: int
    """Trials that have ended."""
    running: tuple[int, ...]
    """Numbers of the trials that go on."""
    waiting: tuple[int, ...] = ()
    """Numbers of those that wait for a place."""
    trials: int
    """How many trials it is to have in all."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialStarted:
    """A trial was proposed and is recorded."""

    trial: int
    """Its number."""
    params: LoraParams
    """Its hyperparameters."""
    source: str
    """Who proposed it: ``default``, ``enqueued``, ``startup``, or a sampler's name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialSetBack:
    """A trial's last state is lost; it goes on from an older one and repeats what the record has."""

    trial: int
    """Its number."""
    recorded: int
    """Rounds that the record has of it."""
    kept: int
    """Rounds that its state has; 0: from its beginning."""
    reason: str
    """What was wrong with the state."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PointRecorded:
    """A round of a trial is recorded."""

    point: CurvePoint
    """What was measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial has ended."""

    trial: int
    """Its number."""
    state: State
    """Any but ``running``."""
    reason: str | None
    """Why, in words; None for ``complete`` alone."""
    value: float | None
    """Final eval loss; None for all but ``complete``."""
    score: float | None = None
    """What the study selects by, more is better; None where that is the loss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerStarted:
    """A worker has come up, with the study's own model and data."""

    worker: int
    """Its index."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerLost:
    """A worker died, or was ended because it fell silent; it is started again."""

    worker: int
    """Its index."""
    trials: tuple[int, ...]
    """Numbers of the trials that were inside; they go on from their last checkpoints."""
    reason: str
    """What became of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerNotStarted:
    """A worker did not come up."""

    worker: int
    """Its index."""
    starts: int
    """How often in a row it has failed to."""
    given_up: bool
    """Whether it is used no more; else it is started again."""
    reason: str
    """Why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotsLimited:
    """Memory ran out: fewer trials are trained at once from now on."""

    worker: int
    """The worker whose memory it was."""
    slots: int
    """The most trials at once in any worker."""
    reason: str
    """What ran out where."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Notice:
    """Something else that a user wants to know; nothing of the record follows from it."""

    about: Literal["database", "device", "ending", "environment", "length", "optuna", "space"]
    """What it is about."""
    text: str
    """The sentence itself."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialProgress:
    """Where one running trial stands."""

    worker: int | None
    """The worker that trains it; None while it waits for a place."""
    trial: int
    """Its number."""
    params: LoraParams
    """Its hyperparameters."""
    examples: int
    """Training examples seen so far."""
    examples_total: int
    """Training examples of a whole trial."""
    train_loss: float | None
    """Mean loss of the round so far."""
    eval_loss: float | None
    """Its last eval loss."""
    learning_rate: float | None
    """That of the last optimizer step."""
    grad_norm: float | None
    """Norm of the last gradient before clipping."""
    state: str
    """``starting``, ``waiting``, ``train`` or ``eval``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaitingTrial:
    """Where a trial waits."""

    trial: int
    """Its number."""
    params: LoraParams
    """Its hyperparameters."""
    round: int
    """The rung: so many rounds are done."""
    eval_loss: float | None
    """Its loss there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best complete trial so far."""

    number: int
    """Its number."""
    value: float
    """Its final eval loss."""
    params: LoraParams
    """Its hyperparameters."""
    score: float | None = None
    """What the study selects by, more is better; None where that is the loss."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyProgress:
    """Where a search stands; made anew at every sign of life of a worker."""

    study: str
    """The study's name."""
    trials: int
    """How many trials it is to have in all."""
    varied: tuple[str, ...]
    """Fields of ``LoraParams`` that are searched; ``lora_alpha`` where its ratio to the rank is."""
    counts: Mapping[Standing, int]
    """Trials by state, every state named; those that wait for a place are counted apart from the running."""
    running: tuple[TrialProgress, ...]
    """The trials that are trained now, by number."""
    waiting: tuple[WaitingTrial, ...] = ()
    """Those that wait for a place at a rung until others prove worse, by number."""
    best: BestTrial | None
    """The best complete trial, None before there is one."""
    base_loss: float
    """The base model's loss on the final evaluation set."""
    tokens_per_second: float
    """Real tokens trained per second, all workers together."""
    memory_bytes: int
    """Peak memory of all workers together."""
    trials_per_hour: float | None
    """Trials ended per hour at the pace of this run; None before a round has ended."""
    seconds_left: float | None
    """Estimate to the end of the study; None before a round has ended, or where the last round that was
    reckoned with takes longer than that."""
    elapsed: float
    """Seconds since this run began."""

    @property
    def finished(self) -> int:
        """How many trials have ended, whatever their outcome."""
        return count_ended(self.counts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyEnded:
    """A run of a study is over; an error that ends one is raised and not told."""

    why: Why
    """``complete`` (all trials ended), ``exhausted`` (no untried configuration was found),
    ``interrupted`` or ``timeout``; the last two can be resumed."""
    counts: Mapping[Standing, int]
    """Trials by state, every state named; those that wait for a place are counted apart from the running."""
    best: int | None
    """Number of the best complete trial, None where there is none."""
    seconds: float
    """How long this run took."""
    orchestration_seconds: float
    """How much of it went into asking, deciding and recording."""
    rounds: int
    """Rounds trained in this run."""


Event = (
    StudyStarted
    | StudyResumed
    | TrialStarted
    | TrialSetBack
    | PointRecorded
    | TrialEnded
    | WorkerStarted
    | WorkerLost
    | WorkerNotStarted
    | SlotsLimited
    | Notice
    | StudyProgress
    | StudyEnded
)
"""All that is told."""


class Observer(Protocol):
    """Who looks on; called from the search's own thread, and must not raise."""

    def on_event(self, event: Event) -> None:
        """Take note of what happened."""
