"""From a short trial to a full run: its steps, its warm-up, and how much of it the trial was."""

from __future__ import annotations

import dataclasses
import math

from ..errors import ReportError
from ..spaces.params import LoraParams
from ..study.records import TrialRecord
from .format import counted, show_loss, show_share
from .view import StudyView

EPOCHS = 3.0
"""Epochs of a full run unless the user says otherwise: the default of Transformers' Trainer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullRun:
    """The training that a configuration is exported for."""

    epochs: float
    """How often it sees the training data."""
    train_examples: int
    """Training examples of an epoch."""
    batch_size: int
    """Examples per optimizer step."""
    warmup_ratio: float
    """Share of the steps that warm up."""
    trial_examples: int
    """Training examples that the trial saw when it was selected."""

    @property
    def steps(self) -> int:
        """Optimizer steps, counted as Trainer does: the last, smaller batch of an epoch is a step."""
        return math.ceil(self.epochs * max(1, math.ceil(self.train_examples / self.batch_size)))

    @property
    def warmup_steps(self) -> int:
        """Whole steps of warm-up, rounded up as Trainer rounds ``warmup_ratio``."""
        return math.ceil(self.warmup_ratio * self.steps)

    @property
    def share(self) -> float:
        """The trial's examples over the full run's."""
        return self.trial_examples / (self.epochs * max(1, self.train_examples))


def full_run(
    view: StudyView, params: LoraParams, examples: int, *, epochs: float = EPOCHS, train: int | None = None
) -> FullRun:
    """Return the full run of a configuration that was selected after so many examples."""
    return FullRun(
        epochs=epochs,
        train_examples=view.data.train if train is None else train,
        batch_size=params.batch_size,
        warmup_ratio=params.warmup_ratio,
        trial_examples=examples,
    )


def provenance(view: StudyView, trial: TrialRecord, run: FullRun) -> tuple[str, ...]:
    """Return what every export says of where its configuration comes from, as sentences."""
    seen = view.examples_seen(trial)
    best = view.best()
    what = f"Trial {trial.number} of study {view.study.name}"
    if best is not None and best.number == trial.number:
        what += ", the best"
    if trial.value is not None:
        loss = (
            f"eval loss {show_loss(trial.value)} on "
            f"{counted(view.budget.final_eval_examples, 'validation example')} "
            f"(base model: {show_loss(view.base_loss)})."
        )
    else:
        ended = trial.state != "running"
        loss = f"it ended as {trial.state}" if ended else f"it is {view.state_of(trial)}"
        loss += ", so it has no final loss: its configuration is untested at full length."
    return (
        f"{what}: {loss}",
        *_no_gain(view, trial),
        f"Selected after {counted(seen, 'training example')}, {seen / max(1, view.data.train):.3g} epochs: "
        f"{show_share(run.share)} of a run of {run.epochs:g} {'epoch' if run.epochs == 1 else 'epochs'} of "
        f"{counted(run.train_examples, 'example')}.",
        "The best learning rate of a short trial runs high: before a long run, try a lower one too.",
        "The loss is the mean over all target tokens of the set; Trainer averages the means of its batches.",
    )


def check_gain(view: StudyView, number: int | None) -> None:
    """Raise ``ReportError`` where the best trial is asked for and the base model is as good or better."""
    trial = view.trial(number)
    if number is None and gains_nothing(view, trial):
        raise ReportError(
            f"trial {trial.number} is the best with an eval loss of {show_loss(trial.value)}, and the base "
            f"model has {show_loss(view.base_loss)}: there is nothing to gain from it; search lower learning "
            "rates or longer trials, or write it --anyway"
        )


def gains_nothing(view: StudyView, trial: TrialRecord) -> bool:
    """Return whether a trial's final loss is not below the base model's."""
    return trial.value is not None and trial.value >= view.base_loss


def _no_gain(view: StudyView, trial: TrialRecord) -> tuple[str, ...]:
    if not gains_nothing(view, trial):
        return ()
    return ("Warning: it is no better than the base model; training with it gains nothing.",)


def comments(sentences: tuple[str, ...]) -> str:
    """Return sentences as comment lines; a line break inside one never leaves the comment."""
    lines = [line for sentence in sentences for line in sentence.splitlines()]
    return "".join(f"# {line}\n" for line in lines)
