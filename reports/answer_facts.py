"""How good the answers of base model, default and best are beside their loss, and the worst examples."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..metrics.installed import has_scikit_learn
from ..metrics.labels import LabelMetrics, label_metrics
from ..study.records import Evaluation, TrialRecord
from .view import StudyView

BASE = "base model"
"""What it is called beside trials."""

WORST = 20
"""Examples that are shown of the best trial's worst."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """What the final evaluation says of one model."""

    name: str
    """``base model``, ``trial 0 (default)`` or ``trial 7 (best)``."""
    loss: float
    """Its mean loss over the target tokens."""
    token_accuracy: float | None
    """Share of the target tokens that are its likeliest; None where they were not counted."""
    score: float | None
    """What the study selects by; None where that is the loss or it was not measured."""
    labels: LabelMetrics | None
    """What its labels are worth; None where they were not measured."""

    @property
    def perplexity(self) -> float:
        """The number of tokens between which it is as undecided; infinite where that is too many."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstExample:
    """A validation example with a high loss."""

    place: int
    """Its place in the final evaluation set, from 0."""
    loss: float
    """The best trial's mean loss over its target tokens."""
    base_loss: float | None
    """The base model's; None where it is not known."""
    tokens: int
    """Its target tokens."""
    prompt: str
    """The end of what is asked."""
    answer: str
    """The beginning of the right answer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerFacts:
    """All that there is to say of the answers."""

    answered: tuple[Answered, ...]
    """Base model, default and best, as far as they are known."""
    worst: tuple[WorstExample, ...]
    """The best trial's worst examples by loss per token, the worst first."""
    note: str | None
    """What is missing and why."""


def answer_facts(view: StudyView) -> AnswerFacts:
    """Return what is known of a study's answers."""
    best = view.best()
    found = [] if view.base_evaluation is None else [_of_base(view)]
    for trial, name in beside_the_base(view):
        found += _of_trial(view, trial, name)
    note = None
    if view.study.facts.answers.labels and not has_scikit_learn():
        note = "The answers are labels; pip install 'loratune[metrics]' to see what the trials make of them."
    return AnswerFacts(answered=tuple(found), worst=_worst(view, best), note=note)


def beside_the_base(view: StudyView) -> list[tuple[TrialRecord, str]]:
    """Return whom the base model is shown beside, default and best, each with its name; none without a best.

    Where the default is the best, it is that alone.
    """
    best = view.best()
    if best is None:
        return []
    found = [(best, f"trial {best.number}" + ("" if view.alone else " (best)"))]
    default = view.default()
    if default is not None and default.number != best.number:
        found.insert(0, (default, f"trial {default.number} ({view.source_of(default)})"))
    return found


def _of_base(view: StudyView) -> Answered:
    found = view.base_evaluation
    assert found is not None, "it was measured when the study was made"
    return Answered(
        name=BASE,
        loss=view.base_loss,
        token_accuracy=found.token_accuracy,
        score=view.base_score,
        labels=_labels(view, found),
    )


def _of_trial(view: StudyView, trial: TrialRecord, name: str) -> list[Answered]:
    """Return what is known of a trial, nothing where it has no final evaluation."""
    found = view.evaluations.get(trial.number)
    if found is None:
        return []
    return [
        Answered(
            name=name,
            loss=found.loss,
            token_accuracy=found.token_accuracy,
            score=trial.score,
            labels=_labels(view, found),
        )
    ]


def _labels(view: StudyView, found: Evaluation) -> LabelMetrics | None:
    answers = view.study.facts.answers
    if found.label_losses is None or not answers.labels or not has_scikit_learn():
        return None
    return label_metrics(found.label_losses, answers.of_examples, answers.labels)


def _worst(view: StudyView, best: TrialRecord | None) -> tuple[WorstExample, ...]:
    """Return the worst examples of the best trial among those whose texts are known."""
    found = None if best is None else view.evaluations.get(best.number)
    texts, base = view.study.facts.answers.texts, view.base_evaluation
    if found is None or not texts:
        return ()
    known = min(len(texts), len(found.losses))
    means = found.losses[:known].astype(np.float64) / found.tokens[:known]
    order = np.argsort(-means, kind="stable")[:WORST]
    return tuple(
        WorstExample(
            place=int(place),
            loss=float(means[place]),
            base_loss=None if base is None else float(base.losses[place] / base.tokens[place]),
            tokens=int(found.tokens[place]),
            prompt=texts[place][0],
            answer=texts[place][1],
        )
        for place in order
    )
