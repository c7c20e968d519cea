"""Is one loss lower than another? Two sets of losses on the same examples, compared pair by pair.

Pure arithmetic on vectors; does not know where they come from.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np

from ..study.records import Evaluation

MIN_EXAMPLES = 20
"""Below this many examples the interval's normal approximation is not to be trusted: none is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """The difference of two mean losses, first minus second, and how sure it is."""

    difference: float
    """First loss minus second; negative where the first is better."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    examples: int
    """Pairs behind it."""

    @property
    def distinguishable(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @property
    def none_at_all(self) -> bool:
        """Whether the two are the same on every example."""
        return self.low == self.high == 0


def paired_interval(first: Evaluation, second: Evaluation, level: float = 0.95) -> Interval | None:
    """Return the interval of ``first.loss - second.loss`` over examples, None where it cannot be had.

    A loss is a ratio: summed loss over target tokens. On the same examples the difference is one too,
    R = Σ dᵢ / Σ tᵢ with dᵢ the difference of example i's summed losses and tᵢ its target tokens. Its
    variance is that of a ratio estimator, by linearization: Var R ≈ n / (n - 1) · Σ (dᵢ - R tᵢ)² / (Σ tᵢ)²
    (Cochran, Sampling Techniques, 3rd ed., 1977, section 6.3). Long and short examples so weigh as they
    do in the loss, what both models find hard cancels out, and nothing is drawn at random.
    """
    examples = len(first.losses)
    same = examples == len(second.losses) and np.array_equal(first.tokens, second.tokens)
    if not same or examples < MIN_EXAMPLES:
        return None
    tokens = first.tokens.astype(np.float64)
    differences = first.losses.astype(np.float64) - second.losses.astype(np.float64)
    if not np.isfinite(differences).all() or not tokens.sum():
        return None
    ratio = differences.sum() / tokens.sum()
    residuals = differences - ratio * tokens
    error = math.sqrt(examples / (examples - 1) * float(residuals @ residuals)) / tokens.sum()
    width = statistics.NormalDist().inv_cdf(0.5 + level / 2) * error
    return Interval(
        difference=float(ratio),
        low=float(ratio - width),
        high=float(ratio + width),
        examples=examples,
    )
