"""What a trial that completes is selected by, from what was measured of it: pure, as the record has it."""

from __future__ import annotations

from ..metrics.labels import label_metrics
from ..study.facts import Facts
from ..study.metric import METRICS, MetricName
from ..study.records import Evaluation


def score_of(name: MetricName, evaluation: Evaluation | None, facts: Facts) -> float | None:
    """Return the metric of a final evaluation, more is better.

    None where the study goes by the loss, and where it was not measured.
    """
    metric = METRICS[name]
    if evaluation is None or metric.is_loss:
        return None
    if metric.needs == "writing":
        return None if evaluation.marks is None else float(evaluation.marks.mean(dtype="float64"))
    if metric.needs == "labels":
        if evaluation.label_losses is None or not facts.answers.labels:
            return None
        found = label_metrics(evaluation.label_losses, facts.answers.of_examples, facts.answers.labels)
        return found.accuracy if name == "accuracy" else found.f1_macro
    return evaluation.token_accuracy
