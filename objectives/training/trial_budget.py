"""A trial's budget, from what is asked for and how much data there is; one complaint wherever it is found.

Knows nothing of what the records say.
"""

from __future__ import annotations

from ...errors import BudgetError
from ...study.budget import EVERY_ROUND, RUNGS, Budget, plan_budget
from ...study.config import ObjectiveConfig
from ...study.facts import BadRecord


def budget_of(
    config: ObjectiveConfig, *, train: int, validation: int, records: int, bad: int, first: BadRecord | None
) -> Budget:
    """Return what every trial is given.

    Args:
        config: the batch sizes, and what the user asks for.
        train: training examples there are.
        validation: validation examples there are.
        records: records that were read.
        bad: those of them that were left out.
        first: the first of these.

    Raises:
        BudgetError: that is too little; where records were left out, it says why the first was.
    """
    try:
        return plan_budget(
            config.batch_sizes,
            train_examples=train,
            validation_examples=validation,
            examples=config.examples,
            eval_examples=config.eval_examples,
            rungs=RUNGS if config.stopping is None else EVERY_ROUND,
            even_lengths=config.even_lengths,
        )
    except BudgetError as error:
        if first is None:
            raise
        left = f"{bad} of {records} records {'was' if bad == 1 else 'were'} left out"
        raise BudgetError(f"{error}; {left}, the first {first.where}: {first.reason}") from None
