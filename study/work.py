"""What a trial costs: the examples that it is trained on, and every forward pass beside them.

In training examples, so that one number stands for both; whoever knows how fast examples are trained, or how
much of it was done in what time, knows from it how long the rest takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .budget import ROUNDS
from .config import ObjectiveConfig
from .facts import Facts
from .metric import METRICS, examples_measured
from .pruners import PrunerSettings

EVAL_COST = 1 / 3
"""A forward pass takes about a third of a training step."""


def work_of_rounds(objective: ObjectiveConfig, facts: Facts) -> tuple[float, ...]:
    """Return ``[9]`` what so many rounds of a trial cost, in training examples: 0, 1 … 8 of them."""
    budget = facts.budget
    costs = []
    for number in range(1, ROUNDS + 1):
        ends = number == ROUNDS
        if objective.stopping is not None:  # the same examples after each round, and all of them at the end
            passes = budget.eval_examples + (budget.final_eval_examples if ends else 0)
        else:
            passes = budget.eval_size(number)
        beside = passes_beside(objective, facts, budget.final_eval_examples) if ends else 0.0
        costs.append(budget.round_examples + EVAL_COST * (passes + beside))
    return tuple(itertools.accumulate(costs, initial=0.0))


def mean_work(costs: Sequence[float], pruner: PrunerSettings, trials: int) -> float:
    """Return what each of so many trials costs in the mean; ``costs`` is ``work_of_rounds``.

    The last evaluation, which may be long, is of those alone that run to their end.
    """
    at_end = costs[ROUNDS] - costs[ROUNDS - 1] - costs[1]
    share = pruner.trained_share(trials)
    return share * (costs[ROUNDS] - at_end) + pruner.finishing_share(trials) * at_end


def passes_beside(objective: ObjectiveConfig, facts: Facts, examples: int) -> float:
    """Return how often an example goes forward for what is measured beside the loss of so many of them.

    Once for each label; and where answers are written, once for each of their tokens, of which there are
    about as many as in the right ones.
    """
    needs, labels = METRICS[objective.metric].needs, len(facts.answers.labels)
    counted = examples_measured(examples, labels, asked=needs == "labels") * labels if labels else 0
    if needs != "writing" or not facts.eval_tokens:
        return float(counted)
    return counted + examples * sum(facts.eval_tokens) / len(facts.eval_tokens)
