"""What a study selects by, from what was measured: of a whole evaluation, and example by example.

Pure, as the record has it. Does not know whether the examples are those of validation or of the test set.
"""

from __future__ import annotations

import numpy as np

from ..study.facts import Answers
from ..study.metric import METRICS, MetricName
from ..study.records import Evaluation
from .labels import label_metrics, predicted


def score_of(name: MetricName, evaluation: Evaluation | None, answers: Answers) -> float | None:
    """Return the metric of an evaluation, more is better; ``answers``: of the same examples.

    None where it is the loss, and where it was not measured.
    """
    metric = METRICS[name]
    if evaluation is None or metric.is_loss:
        return None
    if metric.needs == "writing":
        return None if evaluation.marks is None else float(evaluation.marks.mean(dtype="float64"))
    if metric.needs == "labels":
        if evaluation.label_losses is None or not answers.labels:
            return None
        found = label_metrics(evaluation.label_losses, answers.of_examples, answers.labels)
        return found.accuracy if name == "accuracy" else found.f1_macro
    return evaluation.token_accuracy


def per_example(name: MetricName, found: Evaluation | None, answers: Answers) -> Evaluation | None:
    """Return what is wrong with each example over what it is out of, so that trials compare as by losses.

    Less is better here: a share of what is right is turned into that of what is wrong. None where it was not
    measured. F1 has no value for an example: there it is the accuracy of the labels.
    """
    needs = METRICS[name].needs
    if found is None or METRICS[name].is_loss:
        return found
    if needs == "writing":
        return None if found.marks is None else _out_of_one(1 - found.marks)
    if needs == "labels":
        if found.label_losses is None or not answers.of_examples:
            return None
        right = np.asarray(answers.of_examples[: len(found.label_losses)])
        return _out_of_one(predicted(found.label_losses) != right)
    if found.correct is None:
        return None
    return Evaluation(losses=(found.tokens - found.correct).astype(np.float32), tokens=found.tokens)


def _out_of_one(wrong: np.ndarray) -> Evaluation:
    return Evaluation(losses=wrong.astype(np.float32), tokens=np.ones(len(wrong), np.int64))
