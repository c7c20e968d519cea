"""What a study selects by, example by example, as losses are: so that trials are compared in one way.

Less is better here too: a share of what is right is turned into that of what is wrong.
"""

from __future__ import annotations

import numpy as np

from ..metrics.labels import predicted
from ..study.facts import Facts
from ..study.metric import METRICS, MetricName
from ..study.records import Evaluation


def per_example(name: MetricName, found: Evaluation | None, facts: Facts) -> Evaluation | None:
    """Return what is wrong with each example over what it is out of; None where it was not measured.

    F1 has no value for an example: there it is the accuracy of the labels.
    """
    needs = METRICS[name].needs
    if found is None or METRICS[name].is_loss:
        return found
    if needs == "writing":
        return None if found.marks is None else _out_of_one(1 - found.marks)
    if needs == "labels":
        if found.label_losses is None or not facts.answers.of_examples:
            return None
        right = np.asarray(facts.answers.of_examples[: len(found.label_losses)])
        return _out_of_one(predicted(found.label_losses) != right)
    if found.correct is None:
        return None
    return Evaluation(losses=(found.tokens - found.correct).astype(np.float32), tokens=found.tokens)


def _out_of_one(wrong: np.ndarray) -> Evaluation:
    return Evaluation(losses=wrong.astype(np.float32), tokens=np.ones(len(wrong), np.int64))
