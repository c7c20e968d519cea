"""The rows of the record, as values: what a study, a trial and a point of a curve are.

Holds no database code; search and reports speak of studies in these terms.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..spaces.params import LoraParams

if TYPE_CHECKING:
    # Optuna comes with a space and takes half a second to import, NumPy a tenth; a list needs neither.
    import numpy as np
    import numpy.typing as npt

    from .facts import Facts
    from .stage import Kind
    from .study_config import StudyConfig

State = Literal["running", "complete", "pruned", "diverged", "infeasible", "failed"]
"""``running`` until a trial ends; every other state is final."""

Standing = State | Literal["waiting"]
"""The same, where a trial that runs and has no place is told from one that trains (waiting.py)."""

FINAL_STATES: tuple[State, ...] = ("complete", "pruned", "diverged", "infeasible", "failed")

NOT_ENDED: tuple[Standing, ...] = ("running", "waiting")
"""Where trials stand that have not."""


def count_ended(counts: Mapping[Standing, int]) -> int:
    """Return how many trials have ended, of how many stand where."""
    return sum(count for standing, count in counts.items() if standing not in NOT_ENDED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyHead:
    """What tells one study from the others, and how many trials it wants."""

    id: int
    """The study's number in this database; names its folder of files."""
    name: str
    """The user's name for it: 1 to 64 of ``A-Za-z0-9._-``, neither a dot nor a dash first."""
    created_at: datetime.datetime
    """When it was made, UTC."""
    trials: int
    """How many trials it is to have in all."""
    seed: int
    """Seed of the sampler, the data order and the adapters' initial values."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """What a study follows from and what is to follow it, as far as a list of studies tells."""

    kind: str | None
    """What it is for, a ``Kind``, if it follows from another; None of a search."""
    parent: str | None
    """The study that it follows from."""
    steps: int
    """How many longer steps a search is to be followed by; 0 of every other study."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyRecord(StudyHead):
    """One study: its head, what was asked for, and what was found when it was made."""

    config: StudyConfig
    """Everything that the user chose."""
    facts: Facts
    """What was found: shapes, budget, data, base model and its loss, environment."""

    def follows(self, kind: Kind, parent: str) -> bool:
        """Return whether it is a study of that kind that follows from the one of that name."""
        stage = self.config.stage
        return stage is not None and (stage.kind, stage.parent) == (kind, parent)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as the user numbers it."""

    number: int
    """From 0, without gaps."""
    params: LoraParams
    """Its hyperparameters."""
    seed: int
    """Seed of its data order, initial adapter and dropout."""
    source: str
    """Who proposed it: ``default``, ``enqueued``, ``startup``, or a sampler's name."""
    state: State
    """Where it stands."""
    reason: str | None
    """Why it ended so, in words; None while running or complete."""
    value: float | None
    """Final eval loss; set for ``complete`` alone, always finite."""
    rounds: int
    """Rounds done, 0 to 8."""
    attempt: int
    """How often it was taken up again after an interruption; names its files."""
    checkpoint: str | None
    """File of its training state, relative to the study's folder; None where there is none."""
    adapter: str | None
    """File of its kept adapter, relative to the study's folder; None where it was not kept."""
    started_at: datetime.datetime
    """When it was first asked for, UTC."""
    finished_at: datetime.datetime | None
    """When it ended, UTC."""
    score: float | None = None
    """What the study selects by, more is better; None where that is the loss, or it was not measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What was measured of one trial over one round."""

    trial: int
    """The trial's number."""
    round: int
    """1 to 8; this many rounds were done when it was taken."""
    examples: int
    """Training examples seen so far."""
    train_loss: float | None
    """Mean loss over the target tokens of the round; None where it was not finite."""
    eval_loss: float | None
    """Mean loss over the target tokens of the evaluation set; None where none was made or not finite."""
    learning_rate: float
    """That of the round's last optimizer step."""
    grad_norm: float | None
    """Mean norm of the gradient before clipping over the round's steps; None where not finite."""
    tokens_per_second: float
    """Tokens of this trial over the seconds of the round, evaluation included."""
    memory_bytes: int
    """Peak memory of the worker that trained it."""
    worker: int
    """Which worker trained it."""
    started_at: datetime.datetime
    """When the round began, UTC."""
    finished_at: datetime.datetime
    """When it ended, UTC."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The losses of one trial on each example of an evaluation set, in the set's order."""

    losses: npt.NDArray[np.float32]
    """``[n]`` summed loss over each example's target tokens."""
    tokens: npt.NDArray[np.int64]
    """``[n]`` target tokens of each example."""
    correct: npt.NDArray[np.int64] | None = None
    """``[n]`` target tokens that were the likeliest ones; None where they were not counted."""
    label_losses: npt.NDArray[np.float32] | None = None
    """``[k, labels]`` mean loss over the tokens of each label, were it the answer, of the first k examples;
    None where it was not measured."""
    marks: npt.NDArray[np.float32] | None = None
    """``[n]`` mark of what was written as the answer, 0 to 1; None where nothing was written."""

    @property
    def loss(self) -> float:
        """Mean loss over all the target tokens."""
        return float(self.losses.sum(dtype="float64") / self.tokens.sum())

    @property
    def token_accuracy(self) -> float | None:
        """Share of the target tokens that were the likeliest ones; None where they were not counted."""
        return None if self.correct is None else float(self.correct.sum() / self.tokens.sum())

    def first(self, size: int) -> Evaluation:
        """Return the same on the first ``size`` examples alone, which are those of the earlier rungs."""
        return Evaluation(losses=self.losses[:size], tokens=self.tokens[:size])


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Something that happened to a study and is no trial: it was made or resumed, a worker was lost."""

    at: datetime.datetime
    """When, UTC."""
    kind: str
    """One word: ``created``, ``resumed``, ``interrupted``, ``duplicate``, ``worker``, ``finished`` …"""
    detail: dict[str, Any]
    """What else there is to say, as JSON."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeaseRecord:
    """Who may write a study."""

    host: str
    """The owner's machine."""
    pid: int
    """The owner's process."""
    pid_started: float
    """When that process started, seconds since the epoch: tells it from a later one of the same id."""
    token: int
    """Grows with every owner; a write under an older one is refused."""
    alive: bool
    """Whether that process runs now, as far as this machine can tell."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundUpdate:
    """What is recorded of one trial when a round ends."""

    trial: int
    """The trial's number."""
    round: int
    """1 to 8; one more than the rounds already recorded."""
    point: CurvePoint
    """What was measured."""
    evaluation: Evaluation | None
    """The losses per example; None where no evaluation was due."""
    checkpoint: str | None
    """File of its training state, relative to the study's folder, already synced; None without one."""
    final: Evaluation | None = None
    """The losses per example of the weights that a trial of full length, which ended here, has kept; they are
    recorded in place of the round's own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a trial ended."""

    trial: int
    """The trial's number."""
    state: State
    """Any but ``running``."""
    reason: str | None
    """Why, in words; None for ``complete`` alone."""
    value: float | None
    """Final eval loss, finite; None for all but ``complete``."""
    adapter: str | None
    """File of its adapter, relative to the study's folder; already synced. None where it is not kept."""
    score: float | None = None
    """What the study selects by, more is better; None where that is the loss."""
