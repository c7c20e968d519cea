"""Is the best any better than always answering the most frequent label, without a look at what is asked?

Said here alone, of a search and of a confirmation. Pure; needs no library for metrics.
"""

from __future__ import annotations

import numpy as np

from ..metrics.scoring import per_example
from ..study.facts import Answers
from ..study.format import show_loss
from ..study.metric import METRICS, MetricName
from ..study.records import Evaluation

EQUAL = 1e-9
"""Shares that differ by less are the same: means of the same numbers, taken in another order."""


def no_better_than_one_label(
    who: str, metric: MetricName, score: float | None, found: Evaluation | None, answers: Answers
) -> str | None:
    """Return a warning where the best answers no better than one label for all would; None elsewhere.

    Args:
        who: of whom it is said, such as ``even the best trial``.
        metric: what the study selects by; labels that a study of another metric has are judged by accuracy.
        score: what the best has of it; None where that is to be taken from ``found``.
        found: what was measured of the best, or of another on the same examples.
        answers: the labels of these examples.
    """
    if found is None or not answers.labels or not answers.of_examples:
        return None
    by: MetricName = metric if metric in ("accuracy", "f1_macro", "exact_match") else "accuracy"
    measured = found.marks if by == "exact_match" else found.label_losses
    wrong = per_example(by, found, answers)
    if measured is None or wrong is None:
        return None
    value = score if by == metric and score is not None else 1 - wrong.loss
    always = _always_one(by, answers.of_examples[: len(measured)])
    if value > always + EQUAL:
        return None
    return (
        f"Warning: {who} answers no better than always the most frequent label would "
        f"({METRICS[by].words} {show_loss(value)}, that label alone {show_loss(always)}): no label was "
        "learned. Search other learning rates, or longer trials with --examples."
    )


def _always_one(metric: MetricName, right: tuple[int, ...]) -> float:
    """Return what always answering the most frequent label has of a metric."""
    counts = np.bincount(np.asarray(right))
    share = float(counts.max() / len(right))
    if metric != "f1_macro":
        return share
    # All of that label are found and ``share`` of what is said is right; of the others nothing is found.
    return 2 * share / (1 + share) / int((counts > 0).sum())
