"""One study as the reports read it: its rows, and short names for what is asked of them most."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from ..errors import ReportError
from ..metrics.installed import has_scikit_learn
from ..metrics.scoring import score_of
from ..spaces.space import SearchSpace
from ..study.budget import ROUNDS
from ..study.default_trial import default_trial
from ..study.format import show_loss, show_state
from ..study.metric import METRICS, Metric
from ..study.parts import StudyParts
from ..study.ranking import best_trial
from ..study.records import CurvePoint, Evaluation, EventRecord, StudyRecord, TrialRecord
from ..study.study_config import DEFAULT
from ..study.waiting import rank_in, rung_losses, waiting
from .confirm_facts import ConfirmView


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullRunOf:
    """A trial of a study that another one trained at full length."""

    study: str
    """The other study."""
    trial: int
    """The trial."""
    loss: float
    """Its eval loss in the end."""

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        return f"{self.study} trained trial {self.trial} at full length: eval loss {show_loss(self.loss)}."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slowed:
    """At which rate a trial ended that went on from others, where that is not the one it began at."""

    study: str
    """The study where it began."""
    trial: int
    """Its number there."""
    rate: float
    """The rate that it ended at, as a share of the one that it had there."""
    below: bool
    """Whether any of that was in a study below the trial's own."""

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        return (
            f"It began as trial {self.trial} of study {self.study}, and ended at {self.rate:g} of that "
            "learning rate."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyView(StudyParts):
    """Everything a report is made from; holds no connection, so it can be made up in a test."""

    study: StudyRecord
    """The study."""
    trials: tuple[TrialRecord, ...]
    """Its trials by number."""
    curve: tuple[CurvePoint, ...] = ()
    """Every point of every trial."""
    evaluations: Mapping[int, Evaluation] = dataclasses.field(default_factory=dict)
    """Trial number → losses on each example of the final evaluation set."""
    events: tuple[EventRecord, ...] = ()
    """What else happened."""
    live: bool = True
    """Whether a process runs the study now; without one, a trial that has not ended is interrupted."""
    confirmations: tuple[ConfirmView, ...] = ()
    """The studies that confirm it, the first first; of one that confirms another, itself."""
    full_runs: tuple[FullRunOf, ...] = ()
    """Its trials that other studies trained at full length, the first first."""
    last_step: str | None = None
    """The last of the longer steps that were taken from here; None where there is none."""
    slowed: Mapping[int, Slowed] = dataclasses.field(default_factory=dict)
    """Trial number → at which rate it ended, of those whose rate was lowered on the way, in any study."""

    @property
    def space(self) -> SearchSpace:
        """What was searched."""
        return self.study.config.space

    @property
    def metric(self) -> Metric:
        """What the best trial is selected by."""
        return METRICS[self.objective.metric]

    @functools.cached_property
    def base_evaluation(self) -> Evaluation | None:
        """What was measured of the base model on each example of the final evaluation set."""
        losses, tokens = self.study.facts.base_losses, self.study.facts.eval_tokens
        if not losses or len(losses) != len(tokens):
            return None
        answers = self.study.facts.answers
        correct, labels, marks = answers.base_correct, answers.base_label_losses, answers.base_marks
        return Evaluation(
            losses=np.asarray(losses, np.float32),
            tokens=np.asarray(tokens, np.int64),
            correct=np.asarray(correct, np.int64) if correct else None,
            label_losses=np.asarray(labels, np.float32) if labels else None,
            marks=np.asarray(marks, np.float32) if marks else None,
        )

    @property
    def base_score(self) -> float | None:
        """The base model's metric, that the study selects by; None where it is the loss or is not known."""
        labels = self.metric.needs == "labels"
        if labels and not has_scikit_learn():
            return None
        return score_of(self.metric.name, self.base_evaluation, self.study.facts.answers)

    @property
    def alone(self) -> bool:
        """Whether it has one trial, which is the best of none."""
        return self.study.trials == 1

    @property
    def full_examples(self) -> int:
        """Training examples of a whole trial."""
        return self.budget.examples

    @property
    def epochs(self) -> float:
        """How often a whole trial sees the training data."""
        return self.full_examples / max(1, self.data.train)

    @property
    def exhausted(self) -> bool:
        """Whether the last run ended because nothing untried was left."""
        ends = [event for event in self.events if event.kind in ("finished", "interrupted", "resumed")]
        return bool(ends) and ends[-1].kind == "finished" and ends[-1].detail.get("why") == "exhausted"

    def best(self) -> TrialRecord | None:
        """Return the best complete trial, as ``study/ranking.py`` has it."""
        return best_trial(self.trials)

    def default(self) -> TrialRecord | None:
        """Return the trial of the default configuration: trial 0 of a search; what follows may lack it."""
        if self.study.config.stage is None:
            return next((trial for trial in self.trials if trial.number == 0), None)
        return default_trial(self.study, self.trials)

    def source_of(self, trial: TrialRecord) -> str:
        """Return who proposed a trial; of trial 0 the name of the user's own file, where it is from one."""
        return self.study.config.default_name if trial.source == DEFAULT else trial.source

    def is_default(self, trial: TrialRecord) -> bool:
        """Return whether a trial's configuration is the default one, whatever its number."""
        return trial.params == self.study.config.first[0]

    def trial(self, number: int | None) -> TrialRecord:
        """Return a trial by number, or the best one; raises ``ReportError`` where there is none."""
        if number is None:
            best = self.best()
            if best is None:
                raise ReportError(f"study {self.study.name!r} has no complete trial yet; {self.more()}")
            return best
        for trial in self.trials:
            if trial.number == number:
                return trial
        last = f"0 to {len(self.trials) - 1}" if self.trials else "none yet"
        raise ReportError(f"study {self.study.name!r} has no trial {number}; its trials are {last}")

    def state_of(self, trial: TrialRecord) -> str:
        """Return a trial's state in a word; see ``show_state``. One that waits for a place is ``waiting``."""
        return "waiting" if trial.number in self.waiting else show_state(trial.state, self.live)

    @functools.cached_property
    def waiting(self) -> Mapping[int, int]:
        """The trials that wait for a place, each with the rung where it does."""
        return waiting(self.trials, self._rungs, self.study.config.pruner)

    def waits_words(self, number: int) -> str:
        """Say where a trial waits and for what."""
        rung, one_in = self.waiting[number], self.study.config.pruner.one_in
        here = self._rungs[rung]
        return (
            f"waits after round {rung}, where it is {rank_in(here, number)} of {len(here)}: "
            f"it goes on once it is among the best 1 in {one_in}"
        )

    @functools.cached_property
    def _rungs(self) -> dict[int, dict[int, float]]:
        return rung_losses(self.curve)

    def more(self, flags: str = "") -> str:
        """Return how a study comes to know more: by waiting, or by being gone on with."""
        if self.live:
            return "its search goes on, so wait"
        stage = self.study.config.stage
        if stage is not None and all(trial.state != "running" for trial in self.trials):
            # Its trials were listed when it was made, and all of them have ended.
            return f"it has no more to train; ask study {stage.parent}, which it follows from"
        return f"go on with: tune resume {self.study.name}{flags}"

    def slowed_below(self, number: int) -> str | None:
        """Say at which rate a trial ended that was lowered in a study below; its own says so by itself."""
        found = self.slowed.get(number)
        return found.words if found is not None and found.below else None

    def points(self, number: int) -> tuple[CurvePoint, ...]:
        """Return a trial's points in order."""
        return self._points.get(number, ())

    @functools.cached_property
    def _points(self) -> dict[int, tuple[CurvePoint, ...]]:
        grouped: dict[int, list[CurvePoint]] = {}
        for point in self.curve:
            grouped.setdefault(point.trial, []).append(point)
        return {
            number: tuple(sorted(points, key=lambda point: point.round)) for number, points in grouped.items()
        }

    def examples_seen(self, trial: TrialRecord) -> int:
        """Return how many training examples a trial has seen."""
        points = self.points(trial.number)
        seen = points[-1].examples if points else 0
        return max(seen, min(trial.rounds, ROUNDS) * self.budget.round_examples)

    def eval_at(self, number: int, round_number: int) -> float | None:
        """Return a trial's eval loss after a round, None where there is none."""
        for point in self.points(number):
            if point.round == round_number:
                return point.eval_loss
        return None

    def last_eval(self, number: int) -> float | None:
        """Return a trial's latest eval loss, None before the first."""
        losses = [point.eval_loss for point in self.points(number) if point.eval_loss is not None]
        return losses[-1] if losses else None
