"""The best trial against base model and default: by how much it is better, how sure that is, and in words."""

from __future__ import annotations

import dataclasses

from ..metrics.scoring import per_example
from ..study.format import counted, show_loss
from ..study.ranking import ranked
from ..study.records import Evaluation, TrialRecord
from .paired import Interval, paired_interval
from .view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best trial against something else, on the same validation examples."""

    against: str
    """What it is compared with: ``the base model`` or, say, ``trial 0 (default)``."""
    loss: float
    """The other one's loss."""
    best_loss: float
    """The best trial's loss."""
    interval: Interval | None
    """Other minus best: positive where the best is better; None where it cannot be had."""
    measure: str = ""
    """``eval loss`` with a space after it, where the study selects by something else; else empty."""
    alone: bool = False
    """Whether the best trial is the only one of its study, which needs no such name."""

    @property
    def words(self) -> str:
        """One sentence."""
        other = self.against[0].upper() + self.against[1:]
        gain = self.loss - self.best_loss
        direction = "lower" if gain >= 0 else "higher"
        by = f"{show_loss(abs(gain))} {direction}"
        which = "it" if self.alone else "the best trial"
        text = f"{other} has {self.measure}{show_loss(self.loss)}: {which} is {by}"
        if self.interval is None:
            return text + "; there are too few common examples for an interval."
        if self.interval.none_at_all:
            return f"{other} has {self.measure}{show_loss(self.loss)}: the same on every example."
        ends = sorted((abs(self.interval.low), abs(self.interval.high)))
        if self.interval.distinguishable:
            return text + f" (95 % interval {show_loss(ends[0])} to {show_loss(ends[1])})."
        on = counted(self.interval.examples, "example")
        return (
            text + f", which is not distinguishable from no difference on these {on} (95 % interval "
            f"{show_signed(self.interval.low)} to {show_signed(self.interval.high)}, which includes 0)."
        )


def show_signed(value: float) -> str:
    """Return a difference of losses with its sign, a true minus: ``−0.0041``, ``+0.0113``."""
    return f"{value:+.4f}".replace("-", "−")


def against_base(view: StudyView, best: TrialRecord | None) -> Comparison | None:
    """Compare the best with the base model; None where there is no best."""
    if best is None or best.value is None:
        return None
    return Comparison(
        against="the base model",
        loss=view.base_loss,
        best_loss=best.value,
        interval=interval_of(view.base_evaluation, view.evaluations.get(best.number)),
        measure=_measure(view),
        alone=view.alone,
    )


def against_default(view: StudyView, best: TrialRecord | None) -> tuple[Comparison | None, str | None]:
    """Compare with the default, or say why that cannot be done."""
    if best is None or best.value is None:
        return None, None
    default, name = beside(view, best)
    if default is None:
        return None, None
    if default.number == best.number:
        if view.study.config.stage is not None and view.study.trials == 1:
            return None, "It has the default configuration."
        ended = sum(trial.state != "running" for trial in view.trials)
        others = "no other trial did better" if ended > 1 else "no other trial has ended"
        return None, f"It is trial {default.number}, {_whose(view)}: {others}."
    if default.value is None:
        if default.state == "running":
            stands = f"Trial {default.number} is {view.state_of(default)}"
            return None, f"{stands}, so there is no final loss to compare with yet."
        seen = counted(view.examples_seen(default), "example")
        ended_as = f"Trial {default.number} ended as {default.state} after {seen}"
        return None, f"{ended_as}: no final loss to compare with."
    comparison = Comparison(
        against=name,
        loss=default.value,
        best_loss=best.value,
        interval=interval_of(view.evaluations.get(default.number), view.evaluations.get(best.number)),
        measure=_measure(view),
    )
    return comparison, None


def _whose(view: StudyView) -> str:
    config = view.study.config
    return f"what {config.default_name} trains with" if config.has_own else "the default configuration"


def _measure(view: StudyView) -> str:
    return "" if view.objective.metric == "loss" else "eval loss "


def beside(view: StudyView, best: TrialRecord) -> tuple[TrialRecord | None, str]:
    """Return the trial that another one is compared with, and what it is called.

    That is the default; at full length it is the other one that was trained.
    """
    stage = view.study.config.stage
    if stage is None or stage.kind != "train":
        default = view.default()
        return default, "" if default is None else f"trial {default.number} ({view.source_of(default)})"
    for trial in view.trials:
        if trial.number != best.number:
            repeated = stage.entries[trial.number].trial
            words = f" ({view.study.config.default_name})" if view.is_default(trial) else ""
            return trial, f"trial {repeated} of study {stage.parent}{words}"
    return None, ""


def interval_of(other: Evaluation | None, best: Evaluation | None) -> Interval | None:
    """Return the interval of the paired difference of two losses; None where it cannot be had."""
    return paired_interval(other, best) if other is not None and best is not None else None


def untold(view: StudyView, best: TrialRecord | None) -> dict[int, Interval]:
    """Return whom the best is not told apart from, by loss or score, each with the interval."""
    if best is None:
        return {}
    others = [trial.number for trial in ranked(view.trials) if trial.number != best.number]

    def selected(number: int) -> Evaluation | None:
        found = view.evaluations.get(number)
        return per_example(view.metric.name, found, view.study.facts.answers)

    mine = selected(best.number)
    intervals = ((number, interval_of(selected(number), mine)) for number in others)
    return {
        number: interval
        for number, interval in intervals
        if interval is not None and not interval.distinguishable
    }
