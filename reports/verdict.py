"""The answer that a user came for: which configuration won, by how much, and how sure that is."""

from __future__ import annotations

import dataclasses

from ..spaces.params import LoraParams
from ..study.default_trial import the_default
from ..study.format import counted, join, show_count, show_loss, show_share
from ..study.metric import METRICS, MetricName
from ..study.ranking import gains_nothing
from ..study.records import TrialRecord
from .comparison import Comparison, against_base, against_default, untold
from .confirmation import recommended
from .one_label import no_better_than_one_label
from .trained import Trained, trained
from .view import FullRunOf, StudyView

CHOSEN = (
    "The intervals are over the validation examples that the winner was chosen on: they do not account "
    "for picking the best of {trials} trials, which flatters it, nor for the luck of one training seed. "
)

SELECTION = (
    CHOSEN + "tune confirm {study} accounts for both, and opens the test set, which was not looked at, once."
)

PASSED = CHOSEN + "It went on in longer steps from here: what came of it is the verdict of tune show {last}."

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
    """Other complete trials whose difference from the best is not distinguishable from 0."""
    edges: tuple[str, ...]
    """Clauses on parameters of the best at the end of their range."""
    examples: int
    """Training examples of a whole trial."""
    train_examples: int
    """Training examples that there are."""
    confirmed: bool
    """Whether another study has trained the best of it again under several seeds."""
    recommended: tuple[int, str] | None = None
    """The trial that such a study recommends, and which study that is."""
    full_runs: tuple[FullRunOf, ...] = ()
    """Which of its trials were trained at full length."""
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
    the_default: str = "the default"
    """The default in a sentence: the user's own file by its name, where it is from one."""
    base_score: float | None = None
    """That of the base model, where it was measured."""
    alike: bool = False
    """Whether all of ``ties`` are the same as the best on every example, so that no interval has a width."""
    last_step: str | None = None
    """The last of the longer steps that were taken from here; None where there is none."""
    slowed: str | None = None
    """At which share of its first rate the best trial ended, where ``went_on_from`` does not say it."""
    one_label: str | None = None
    """A warning where the best answers no better than one label for all would."""

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
        which = "the trial" if self.wanted == 1 else "the best trial"
        return (
            f"Warning: the base model is {learned} {which} ({by}{show_loss(base)}, the trial "
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
        gained = ", but no better than the base model" if self.worse else ""
        gained = gained if self.one_label is None else ", but no better than always the same label"
        on = f"on {counted(self.eval_examples, 'validation example')}"
        if self.trained is not None and self.trials == 1:
            return f"Trained at full length{gained}: {self._selected}eval loss {show_loss(self.loss)} {on}."
        if self.went_on_from is not None and self.wanted == 1:
            length = f"Trained on {counted(self.examples, 'example')} in all"
            return f"{length}{gained}: {self._selected}eval loss {show_loss(self.loss)} {on}."
        only = "the only one that has ended" if self.running else "the only one"
        place = f"the best of {self.trials}" if self.trials > 1 else only
        return (
            f"Trial {self.number} is {place}{so_far}{gained}: {self._selected}eval loss "
            f"{show_loss(self.loss)} {on}."
        )

    @property
    def _selected(self) -> str:
        return "" if self.score is None else f"{METRICS[self.metric].words} {show_loss(self.score)}, "

    @property
    def _by_metric(self) -> str:
        return "" if self.score is None else f" by {METRICS[self.metric].words}"

    @property
    def _length(self) -> str:
        """Say how long the best trial was trained."""
        alone = self.went_on_from is not None and self.wanted == 1
        seen, there = counted(self.examples, "example"), show_count(self.train_examples)
        if self.epochs < 1:
            did = "was trained for" if alone else "was selected at"
            share = show_share(self.epochs)
            return (
                f"It {did} {share} of one epoch: a trial sees {show_count(self.examples)} of {there} "
                "training examples."
            )
        did, epochs = "was trained for" if alone else "was selected after", f"{self.epochs:.3g}"
        noun = "epoch" if self.epochs == 1 else "epochs"
        return f"It {did} {epochs} {noun}: a trial sees {seen}, of {there} that there are to train on."

    @property
    def sentences(self) -> tuple[str, ...]:
        """What else there is to say, most important first."""
        if self.number is None:
            return ()
        found = [words for words in (self.one_label, self.warning) if words is not None]
        if self.recommended is not None:
            number, by = self.recommended
            found.append(f"{by} recommends " + ("it." if number == self.number else f"trial {number}."))
        found += [run.words for run in self.full_runs]
        found += [] if self.trained is None else self.trained.sentences
        if self.went_on_from is not None:
            found.append(
                f"It went on from {self.went_on_from}, to {counted(self.examples, 'example')} in all."
            )
        if self.slowed is not None:
            found.append(self.slowed)
        if self.score is not None:
            known = ((self.the_default, self.default_score), ("the base model", self.base_score))
            beside = "".join(f"; {name} has {show_loss(one)}" for name, one in known if one is not None)
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
            why = "they are" if len(self.ties) > 1 else "it is"
            why = (
                f"{why} the same on every example"
                if self.alike
                else "the interval of the difference includes 0"
            )
            found.append(f"{noun} {listed} {verb} not distinguishable from it{self._by_metric}: {why}.")
        if self.edges:
            found.append(f"{join(self.edges)}: a wider range may hold a better value.")
        if self.trained is not None:
            return (
                (*found, LUCK) if self.base is not None and self.base.interval is not None else tuple(found)
            )
        found.append(self._length)
        compared = [one for one in (self.base, self.default) if one is not None and one.interval is not None]
        if self.trials > 1 and (compared or self.ties):
            words = PASSED if self.last_step is not None else SELECTION
            words = CONFIRMED if self.confirmed else words
            found.append(words.format(trials=self.trials, study=self.study, last=self.last_step))
        elif self.base is not None and self.base.interval is not None:
            found.append(LUCK)
        return tuple(found)


def verdict(view: StudyView) -> Verdict:
    """Judge a study: pure, from its rows alone."""
    best = view.best()
    ended = sum(trial.state != "running" for trial in view.trials)
    ties = untold(view, best)
    default, note = against_default(view, best)
    return Verdict(
        study=view.study.name,
        running=ended < view.study.trials and not view.exhausted,
        trials=ended,
        wanted=view.study.trials,
        number=best.number if best else None,
        loss=best.value if best else None,
        params=best.params if best else None,
        source=view.source_of(best) if best else None,
        eval_examples=view.budget.final_eval_examples,
        base=against_base(view, best),
        default=default,
        default_note=note,
        ties=tuple(ties),
        alike=bool(ties) and all(interval.none_at_all for interval in ties.values()),
        edges=view.space.edges(best.params) if best and view.study.config.stage is None else (),
        examples=view.full_examples,
        train_examples=view.data.train,
        confirmed=bool(view.confirmations),
        recommended=_recommended(view),
        full_runs=view.full_runs,
        trained=trained(view, best) if best else None,
        went_on_from=went_on_from(view, best),
        metric=view.metric.name,
        score=best.score if best else None,
        default_score=_default_score(view, best),
        the_default=the_default(view.study.config.default_name),
        base_score=view.base_score,
        last_step=view.last_step,
        slowed=view.slowed_below(best.number) if best else None,
        one_label=None if best is None else _one_label(view, best),
    )


def _one_label(view: StudyView, best: TrialRecord) -> str | None:
    found, answers = view.evaluations.get(best.number), view.study.facts.answers
    who = "the trial" if view.alone else "even the best trial"
    return no_better_than_one_label(who, view.metric.name, best.score, found, answers)


def _recommended(view: StudyView) -> tuple[int, str] | None:
    found = recommended(view.confirmations, view.study)
    if found is None or found[1].study.id == view.study.id:
        return None
    return found[0], found[1].study.name


def went_on_from(view: StudyView, best: TrialRecord | None) -> str | None:
    """Return where the trial of a step began, as ``trial 3 of study demo``; None of any other.

    A rate that is not that trial's is named too.
    """
    stage = view.study.config.stage
    if best is None or stage is None or stage.kind != "longer":
        return None
    entry = stage.entries[best.number]
    lower = "" if entry.rate == 1.0 else f", at {entry.rate:g} of its learning rate from there on"
    return f"trial {entry.trial} of study {stage.parent}{lower}"


def _default_score(view: StudyView, best: TrialRecord | None) -> float | None:
    default = view.default()
    return None if default is None or best is None or default.number == best.number else default.score
