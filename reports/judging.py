"""By what configurations are compared, the loss or a study's metric: means over seeds, and who is worse.

Whatever it is by, a difference above 0 says that the first is worse. A loss and a share of what is right have
a part for every example, so a difference is paired by seed and by example (crossed.py). Macro F1 has none: it
is paired by seed alone, and its interval says nothing of other examples.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from ..metrics.scoring import per_example
from ..study.facts import Answers
from ..study.metric import METRICS, MetricName
from ..study.records import Evaluation
from .crossed import Estimate, over_both, over_seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """What was measured of trials on the same examples, and by what they are judged."""

    metric: MetricName
    """By what."""
    evaluations: Mapping[int, Evaluation]
    """Trial → what was measured of each example."""
    scores: Mapping[int, float]
    """Trial → its metric, more is better; nothing where it is judged by the loss."""
    answers: Answers
    """The labels of the examples."""

    def has(self, trials: Sequence[int]) -> bool:
        """Return whether all of some trials can be judged."""
        return all(trial in self.evaluations for trial in trials) and (
            METRICS[self.metric].is_loss or all(trial in self.scores for trial in trials)
        )

    def mean(self, values: Sequence[float], examples: int) -> Estimate:
        """Return the mean of one configuration under several seeds, with Student's interval over these.

        Of the interval only what can be is told, which holds the truth as often as all of it: a loss is never
        below 0, and every metric is a share, from 0 to 1.
        """
        found = over_seeds(values, examples)
        if found.low is None or found.high is None:
            return found
        most = math.inf if METRICS[self.metric].is_loss else 1.0
        return dataclasses.replace(found, low=max(0.0, found.low), high=min(most, found.high))

    def values(self, trials: Sequence[int]) -> list[float]:
        """Return what each of some trials is judged by."""
        if METRICS[self.metric].is_loss:
            return [self.evaluations[trial].loss for trial in trials]
        return [self.scores[trial] for trial in trials]

    def worse_by(self, first: Sequence[int], second: Sequence[int], level: float) -> Estimate | None:
        """Return by how much one configuration is worse than another, a trial of each under the same seeds.

        None where they cannot be paired.
        """
        if not self.has(first) or not self.has(second):
            return None
        if METRICS[self.metric].by_example:
            mine, theirs = self._by_example(first), self._by_example(second)
            return None if mine is None or theirs is None else over_both(mine, theirs, level)
        pairs = zip(self.values(first), self.values(second), strict=True)
        return over_seeds(
            [other - own for own, other in pairs], len(self.evaluations[first[0]].tokens), level
        )

    def _by_example(self, trials: Sequence[int]) -> list[Evaluation] | None:
        found = [per_example(self.metric, self.evaluations[trial], self.answers) for trial in trials]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None
