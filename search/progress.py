"""What an onlooker sees of a running search: one value, made anew at every sign of life."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from ..spaces.params import LoraParams
from ..study.budget import QUANTA
from ..study.records import State
from .pruners import STOP_RUNGS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlotView:
    """One running trial."""

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
    """Mean loss of the quantum so far."""
    eval_loss: float | None
    """Its last eval loss."""
    learning_rate: float | None
    """That of the last optimizer step."""
    grad_norm: float | None
    """Norm of the last gradient before clipping."""
    state: str
    """``starting``, ``waiting``, ``train`` or ``eval``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BestView:
    """The best complete trial so far."""

    number: int
    """Its number."""
    value: float
    """Its final eval loss."""
    params: LoraParams
    """Its hyperparameters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Where a search stands."""

    study: str
    """The study's name."""
    trials: int
    """How many trials it is to have in all."""
    varied: tuple[str, ...]
    """Fields of ``LoraParams`` that are searched; ``lora_alpha`` where its ratio to the rank is."""
    counts: Mapping[State, int]
    """Trials by state, every state named."""
    slots: tuple[SlotView, ...]
    """The running trials, by number."""
    best: BestView | None
    """The best complete trial, None before there is one."""
    base_loss: float
    """The base model's loss on the final evaluation set."""
    tokens_per_second: float
    """Real tokens trained per second, all workers together."""
    memory_bytes: int
    """Peak memory of all workers together."""
    trials_per_hour: float | None
    """Trials ended per hour at the pace of this run; None before a quantum has ended."""
    seconds_left: float | None
    """Estimate to the end of the study; None before a quantum has ended."""
    elapsed: float
    """Seconds since this run began."""
    messages: tuple[str, ...]
    """The last things that happened, newest last."""

    @property
    def finished(self) -> int:
        """How many trials have ended, whatever their outcome."""
        return sum(self.counts.values()) - self.counts["running"]


class Observer(Protocol):
    """Who looks on; called from the search's own thread, and must not raise."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take note of where the search stands."""

    def on_message(self, text: str) -> None:
        """Take note of something that happened, in one line."""


class Unobserved:
    """Nobody looks on."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Do nothing."""

    def on_message(self, text: str) -> None:
        """Do nothing."""


def estimate(
    *,
    quanta_done: int,
    elapsed: float,
    quanta_of_finished: int,
    finished: int,
    to_begin: int,
    begun: Sequence[int],
    stops: bool,
) -> tuple[float | None, float | None]:
    """Return (trials per hour, seconds left) at the pace of this run.

    ``quanta_done`` were trained in ``elapsed`` seconds; ``finished`` trials took ``quanta_of_finished`` in
    all; ``to_begin`` trials are still to come, and ``begun`` has the quanta of each one that is under way.
    ``stops`` says whether trials may be stopped early.

    >>> so_far = dict(quanta_done=40, elapsed=100.0, quanta_of_finished=40, finished=10)
    >>> estimate(**so_far, to_begin=3, begun=[2, 6], stops=True)  # 3 × 4, 3 and 2 quanta at 0.4 a second
    (360.0, 42.5)
    """
    if quanta_done == 0 or elapsed <= 0:
        return None, None
    pace = quanta_done / elapsed
    if not stops:
        mean = float(QUANTA)
    elif finished and quanta_of_finished:
        mean = quanta_of_finished / finished
    else:  # half of a full trial: about what successive halving spends on one
        mean = QUANTA / 2
    under_way = sum(
        max(mean - quanta, (QUANTA - quanta) / 2) if stops and quanta < STOP_RUNGS[-1] else QUANTA - quanta
        for quanta in begun
    )
    return 3600 * pace / mean, (to_begin * mean + under_way) / pace
