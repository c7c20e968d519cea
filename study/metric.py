"""What a study selects its best trial by, by the name that ``--metric`` takes; nothing here is computed.

Trials are stopped by their loss whatever it is: a metric is measured of those that complete.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

MetricName = Literal["loss", "token_accuracy", "accuracy", "f1_macro", "exact_match", "rouge_l"]

LEAST_LABELLED = 32
"""Fewer examples say nothing of labels, and are not measured unless that is asked for."""

Needs = Literal["nothing", "labels", "writing"]
"""What it takes beside the losses: nothing, the likelihood of each label, or what the trial writes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One of them."""

    name: MetricName
    """As it is asked for."""
    words: str
    """What it is, in a few words."""
    needs: Needs
    """What must be measured for it."""
    by_example: bool = True
    """Whether it is a mean over examples, or over their tokens, so that each example has its share of it."""

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss itself, of which less is better."""
        return self.name == "loss"


METRICS: dict[MetricName, Metric] = {
    one.name: one
    for one in (
        Metric(name="loss", words="eval loss", needs="nothing"),
        Metric(name="token_accuracy", words="token accuracy", needs="nothing"),
        Metric(name="accuracy", words="accuracy of the labels", needs="labels"),
        Metric(name="f1_macro", words="macro F1 of the labels", needs="labels", by_example=False),
        Metric(name="exact_match", words="exact match of the written answers", needs="writing"),
        Metric(name="rouge_l", words="ROUGE-L of the written answers", needs="writing"),
    )
}
"""Every metric by its name."""

assert tuple(METRICS) == get_args(MetricName)


def examples_measured(size: int, labels: int, *, asked: bool) -> int:
    """Return on how many examples of a final evaluation set of ``size`` labels are measured.

    All of them where that is asked for. Else so many that it takes no longer than the evaluation itself
    does, and none where these would be too few.
    """
    if asked:
        return size
    affordable = size // labels
    return affordable if affordable >= LEAST_LABELLED else 0
