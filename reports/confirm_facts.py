"""A confirmation as values: its rows as they are read, and what is found in them."""

from __future__ import annotations

import dataclasses
import datetime
import statistics
from collections.abc import Mapping

from ..spaces.params import LoraParams
from ..study.default_trial import the_default
from ..study.locked_set import Opening
from ..study.metric import MetricName
from ..study.records import Evaluation, StudyRecord, TrialRecord
from ..study.study_config import DEFAULT
from .crossed import Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmView:
    """A confirming study as it is read: its rows, and what the search had said of its trials."""

    study: StudyRecord
    """The confirming study."""
    trials: tuple[TrialRecord, ...]
    """Its trials by number."""
    evaluations: Mapping[int, Evaluation]
    """Trial → what was measured of it at last on each validation example."""
    openings: tuple[Opening, ...]
    """Every look at the test set that it took."""
    searched: Mapping[int, float]
    """Trial of the searched study → the loss that the search gave it."""
    live: bool
    """Whether a process runs it now."""
    searched_scores: Mapping[int, float] = dataclasses.field(default_factory=dict)
    """Trial of the searched study → what the search had of its metric, where it goes by one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Configuration:
    """One configuration under every seed."""

    trial: int
    """The trial of the searched study that it is of."""
    default: bool
    """Whether it is the default."""
    entries: tuple[int, ...]
    """The confirming study's trials, one for each seed."""
    params: LoraParams
    """Its hyperparameters."""
    searched: float | None
    """What the search had of what it is judged by: one seed, the search's own examples."""
    losses: tuple[float, ...]
    """Its loss under each seed that it came through, on all validation examples."""
    scores: tuple[float, ...]
    """Its metric under each of them, more is better; empty where it is judged by the loss."""
    mean: Estimate | None
    """Mean of what it is judged by, with its interval over seeds; None where it came through under none."""
    lost: str | None
    """Why it cannot be judged, such as ``diverged under seed 3``; None where it came through under all."""
    weights: int | None
    """Weights of its adapter; None where that is not known."""
    steps: int
    """Optimizer steps that it takes."""
    difference: Estimate | None
    """By how much it is worse than the best, corrected for so many comparisons; None for the best and the
    lost."""
    tied: bool
    """Whether it is the best or cannot be told apart from it."""

    @property
    def judged(self) -> tuple[float, ...]:
        """What it is judged by, under each seed that it came through."""
        return self.scores or self.losses

    @property
    def mean_loss(self) -> float | None:
        """Its mean loss over seeds, whatever it is judged by; None where it came through under none."""
        return statistics.mean(self.losses) if self.losses else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tested:
    """What the test set said, the last time that it was opened."""

    at: datetime.datetime
    """When, UTC."""
    opened: int
    """How often it has been opened, this time included."""
    trial: int
    """The trial that was recommended then."""
    mean: Estimate
    """What it has of ``metric``: the mean over seeds, with the interval over seeds."""
    default: Estimate | None
    """The default's; None where that is the recommended one, or did not come through."""
    difference: Estimate | None
    """By how much the default is worse than the recommended one; below 0 where it is better."""
    validation: Estimate | None
    """The same on the validation examples, by the same metric."""
    disagrees: bool
    """Whether the two stand the other way round there."""
    metric: MetricName = "loss"
    """What was measured: what the study selects by, or the loss where no more was measured."""

    @property
    def examples(self) -> int:
        """Test examples."""
        return self.mean.examples


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """How far seeds move what is judged by, beside how far configurations do."""

    seeds: float
    """Standard deviation of one configuration over seeds, all configurations taken together."""
    configurations: float
    """Standard deviation between configurations, what seeds alone would make of it taken off."""
    count: int
    """Configurations behind it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What a confirmation found so far."""

    study: str
    """The confirming study."""
    parent: str
    """The study that was searched."""
    seeds: tuple[int, ...]
    """The seeds."""
    ended: int
    """Its trials that have ended."""
    wanted: int
    """Its trials in all."""
    running: bool
    """Whether a process runs it now."""
    examples: int
    """Validation examples: all that there are."""
    configurations: tuple[Configuration, ...]
    """The best mean first; those that cannot be judged last."""
    best: int | None
    """The trial of the best mean; None before all have ended, or where none came through."""
    recommended: int | None
    """The cheapest of those that are tied with the best."""
    spread: Spread | None
    """How far seeds move what is judged by; None where too few came through."""
    default_difference: Estimate | None
    """By how much the default is worse than the recommended one, not corrected: both were named beforehand or
    follow."""
    tested: Tested | None
    """What the test set said; None where it was not opened."""
    untested: str | None
    """Why the test set was not opened, where that was decided."""
    default_name: str = DEFAULT
    """What the default is called in a word: the name of the user's own file, where it is from one."""
    metric: MetricName = "loss"
    """What is judged by: what the study selects by."""
    one_label: str | None = None
    """A warning where the best answers no better than one label for all would."""

    @property
    def the_default(self) -> str:
        """The default in a sentence."""
        return the_default(self.default_name)

    @property
    def over(self) -> bool:
        """Whether all its trials have ended."""
        return self.ended == self.wanted

    def of(self, trial: int) -> Configuration:
        """Return the configuration of a trial of the searched study."""
        return next(one for one in self.configurations if one.trial == trial)
