"""The answer that a user came for: which configuration won, by how much, and how sure that is."""

from __future__ import annotations

import dataclasses

from ..metrics.scoring import per_example
from ..spaces.params import LoraParams
from ..study.format import counted, join, show_count, show_loss, show_share
from ..study.metric import METRICS, MetricName
from ..study.ranking import gains_nothing, ranked
from ..study.records import Evaluation, TrialRecord
from .comparison import Comparison
from .paired import Interval, paired_interval
from .trained import Trained, trained
from .view import StudyView

SELECTION = (
    "The intervals are over the validation examples that the winner was chosen on: they do not account "
    "for picking the best of {trials} trials, which flatters it, nor for the luck of one training seed. "
    "tune confirm {study} accounts for both, and opens the test set, which was not looked at, once."
)

CONFIRMED = (
    "The intervals are over the validation examples that the winner was chosen on, and know neither of "
    "picking the best of {trials} trials nor of the luck of one training seed: the confirmation does."
)

LUCK = "The interval is over validation examples alone: it knows nothing of the luck of one training run."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a study found so far."""

    study: str
    """Its name."""
    running: bool
    """Whether trials are still to come."""
    trials: int
    """Trials that have ended."""
    wanted: int
    """Trials that the study is to have."""
    number: int | None
    """The best complete trial; None where there is none yet."""
    loss: float | None
    """Its eval loss."""
    params: LoraParams | None
    """Its hyperparameters."""
    source: str | None
    """Who proposed it."""
    eval_examples: int
    """Validation examples that the loss is taken over."""
    base: Comparison | None
    """Against the base model."""
    default: Comparison | None
    """Against the default; None where that is the best or has no final loss."""
    default_note: str | None
    """Why there is no comparison with the default, where there is none."""
    ties: tuple[int, ...]
    """Other complete trials whose difference from the best is not distinguishable from 0, by loss."""
    edges: tuple[str, ...]
    """Clauses on parameters of the best at the end of their range."""
    examples: int
    """Training examples of a whole trial."""
    train_examples: int
    """Training examples that there are."""
    confirmed: bool
    """Whether another study has trained the best of it again under several seeds."""
    trained: Trained | None = None
    """What there is to say of a trial of full length; None of a search's."""
    went_on_from: str | None = None
    """Where the best trial of a step began, as ``trial 3 of study demo``; None of one that began anew."""
    metric: MetricName = "loss"
    """What the best was selected by."""
    score: float | None = None
    """That of the best trial; None where it is the loss."""
    default_score: float | None = None
    """That of the default, where it is not the best and was measured."""
    base_score: float | None = None
    """That of the base model, where it was measured."""

    @property
    def epochs(self) -> float:
        """How often the best trial saw the training data."""
        return self.examples / max(1, self.train_examples)

    @property
    def worse(self) -> bool:
        """Whether even the best trial is no better than the base model, by what the study selects by."""
        one = self.base
        return one is not None and gains_nothing(one.best_loss, one.loss, self.score, self.base_score)

    @property
    def warning(self) -> str | None:
        """What there is to warn of before anything else is said."""
        if self.base is None or not self.worse:
            return None
        base, best, by = self.base.loss, self.base.best_loss, ""
        if self.score is not None and self.base_score is not None:
            base, best, by = self.base_score, self.score, f"{METRICS[self.metric].words} "
        learned = "as good as" if best == base else "better than"
        return (
            f"Warning: the base model is {learned} the best trial ({by}{show_loss(base)}, the trial "
            f"{show_loss(best)}): training with this configuration gains nothing. Search "
            "lower learning rates, or longer trials with --examples."
        )

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        if self.number is None:
            if not self.trials:
                return "No trial has ended yet."
            of = f"None of {self.trials} trials" if self.trials > 1 else "The one trial that ended"
            return f"{of} has completed: there is no best configuration yet."
        so_far = " so far" if self.running else ""
        if self.trained is not None and self.trials == 1:
            gained = ", but no better than the base model" if self.worse else ""
            on = counted(self.eval_examples, "validation example")
            return f"Trained at full length{gained}: eval loss {show_loss(self.loss)} on {on}."
        place = f"the best of {self.trials}" if self.trials > 1 else "the only one that has ended"
        so_far += ", but no better than the base model" if self.worse else ""
        return (
            f"Trial {self.number} is {place}{so_far}: {self._selected}eval loss {show_loss(self.loss)} "
            f"on {counted(self.eval_examples, 'validation example')}."
        )

    @property
    def _selected(self) -> str:
        return "" if self.score is None else f"{METRICS[self.metric].words} {show_loss(self.score)}, "

    @property
    def sentences(self) -> tuple[str, ...]:
        """What else there is to say, most important first."""
        if self.number is None:
            return ()
        found = [] if self.warning is None else [self.warning]
        found += [] if self.trained is None else self.trained.sentences
        if self.went_on_from is not None:
            found.append(
                f"It went on from {self.went_on_from}, to {counted(self.examples, 'example')} in all."
            )
        if self.score is not None:
            known = (("; the default has", self.default_score), ("; the base model has", self.base_score))
            beside = "".join(f"{has} {show_loss(one)}" for has, one in known if one is not None)
            words = METRICS[self.metric].words
            found.append(f"It was selected by {words}{beside}; trials were stopped early by their loss.")
        found += [comparison.words for comparison in (self.base, self.default) if comparison is not None]
        if self.default_note is not None:
            found.append(self.default_note)
        if self.ties:
            shown = [str(number) for number in self.ties[:5]]
            more = f" and {len(self.ties) - 5} more" if len(self.ties) > 5 else ""
            listed = ", ".join(shown) + more if more else join(shown)
            noun, verb = ("Trial", "is") if len(self.ties) == 1 else ("Trials", "are")
            found.append(
                f"{noun} {listed} {verb} not distinguishable from it: "
                "the interval of the difference includes 0."
            )
        if self.edges:
            found.append(f"{join(self.edges)}: a wider range may hold a better value.")
        if self.trained is not None:
            return (
                (*found, LUCK) if self.base is not None and self.base.interval is not None else tuple(found)
            )
        found.append(
            f"It was selected at {show_share(self.epochs)} of one epoch: a trial sees "
            f"{show_count(self.examples)} of {show_count(self.train_examples)} training examples."
            if self.epochs < 1
            else f"It was selected after {self.epochs:.3g} {'epoch' if self.epochs == 1 else 'epochs'}: "
            f"a trial sees {counted(self.examples, 'example')}, of {show_count(self.train_examples)} that "
            "there are to train on."
        )
        compared = [one for one in (self.base, self.default) if one is not None and one.interval is not None]
        if self.trials > 1 and (compared or self.ties):
            words = CONFIRMED if self.confirmed else SELECTION
            found.append(words.format(trials=self.trials, study=self.study))
        elif self.base is not None and self.base.interval is not None:
            found.append(LUCK)
        return tuple(found)


def verdict(view: StudyView) -> Verdict:
    """Judge a study: pure, from its rows alone."""
    best = view.best()
    ended = sum(trial.state != "running" for trial in view.trials)
    default, note = _against_default(view, best)
    return Verdict(
        study=view.study.name,
        running=ended < view.study.trials and not view.exhausted,
        trials=ended,
        wanted=view.study.trials,
        number=best.number if best else None,
        loss=best.value if best else None,
        params=best.params if best else None,
        source=best.source if best else None,
        eval_examples=view.budget.final_eval_examples,
        base=_against_base(view, best),
        default=default,
        default_note=note,
        ties=_ties(view, best),
        edges=view.space.edges(best.params) if best and view.study.config.stage is None else (),
        examples=view.full_examples,
        train_examples=view.data.train,
        confirmed=bool(view.confirmations),
        trained=trained(view, best) if best else None,
        went_on_from=_went_on_from(view, best),
        metric=view.metric.name,
        score=best.score if best else None,
        default_score=_default_score(view, best),
        base_score=view.base_score,
    )


def _went_on_from(view: StudyView, best: TrialRecord | None) -> str | None:
    stage = view.study.config.stage
    if best is None or stage is None or stage.kind != "longer":
        return None
    return f"trial {stage.entries[best.number].trial} of study {stage.parent}"


def _default_score(view: StudyView, best: TrialRecord | None) -> float | None:
    default = view.default()
    return None if default is None or best is None or default.number == best.number else default.score


def _against_base(view: StudyView, best: TrialRecord | None) -> Comparison | None:
    if best is None or best.value is None:
        return None
    return Comparison(
        against="the base model",
        loss=view.base_loss,
        best_loss=best.value,
        interval=_interval(view.base_evaluation, view.evaluations.get(best.number)),
    )


def _against_default(view: StudyView, best: TrialRecord | None) -> tuple[Comparison | None, str | None]:
    """Compare with the default, or say why that cannot be done."""
    if best is None or best.value is None:
        return None, None
    default, name = beside(view, best)
    if default is None:
        return None, None
    if default.number == best.number:
        ended = sum(trial.state != "running" for trial in view.trials)
        others = "no other trial did better" if ended > 1 else "no other trial has ended"
        return None, f"It is trial {default.number}, the {default.source} configuration: {others}."
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
        interval=_interval(view.evaluations.get(default.number), view.evaluations.get(best.number)),
    )
    return comparison, None


def beside(view: StudyView, best: TrialRecord) -> tuple[TrialRecord | None, str]:
    """Return the trial that another one is compared with, and what it is called.

    That is the default; at full length it is the other one that was trained.
    """
    stage = view.study.config.stage
    if stage is None or stage.kind != "train":
        default = view.default()
        return default, "" if default is None else f"trial {default.number} ({default.source})"
    for trial in view.trials:
        if trial.number != best.number:
            repeated = stage.entries[trial.number].trial
            words = " (default)" if view.is_default(trial) else ""
            return trial, f"trial {repeated} of study {stage.parent}{words}"
    return None, ""


def _ties(view: StudyView, best: TrialRecord | None) -> tuple[int, ...]:
    if best is None:
        return ()
    others = [trial.number for trial in ranked(view.trials) if trial.number != best.number]

    def selected(number: int) -> Evaluation | None:
        found = view.evaluations.get(number)
        return per_example(view.metric.name, found, view.study.facts.answers)

    mine = selected(best.number)
    intervals = ((number, _interval(selected(number), mine)) for number in others)
    return tuple(
        number for number, interval in intervals if interval is not None and not interval.distinguishable
    )


def _interval(other: Evaluation | None, best: Evaluation | None) -> Interval | None:
    return paired_interval(other, best) if other is not None and best is not None else None
