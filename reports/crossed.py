"""Losses of one configuration under several seeds on several examples: how sure is a mean, or a difference?

Pure arithmetic on arrays; does not know where they come from. Every seed was measured on the same examples,
so seeds and examples are crossed: both are draws, and both make a mean uncertain.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..study.records import Evaluation
from .student import t_quantile

NO_WIDTH = 1e-9
"""An interval narrower than that is of numbers that do not vary, but for how they were added up."""

Numbers = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean loss, or a difference of two, and how sure it is."""

    value: float
    """The mean over seeds of the loss or the difference."""
    low: float | None
    """Lower end of its interval; None where one seed or one example says nothing of it."""
    high: float | None
    """Upper end."""
    seeds: int
    """Seeds behind it."""
    examples: int
    """Examples behind it."""

    @property
    def includes_zero(self) -> bool:
        """Whether it may as well be 0; so it is where there is no interval."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high

    @property
    def flat(self) -> bool:
        """Whether its interval has no width: nothing varied, which proves nothing of what would."""
        return self.low is not None and self.high is not None and self.high - self.low < NO_WIDTH


def over_seeds(losses: Sequence[float], examples: int, level: float = 0.95) -> Estimate:
    """Return the mean of one configuration's losses, a seed each, with Student's interval over the seeds.

    It says where the mean of many more seeds would lie, on these same examples.
    """
    values = np.asarray(losses, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    width = None
    if count > 1:
        error = float(values.std(ddof=1)) / math.sqrt(count)
        width = t_quantile(0.5 + level / 2, count - 1) * error
    return _estimate(mean, width, count, examples)


def over_both(
    first: Sequence[Evaluation], second: Sequence[Evaluation], level: float = 0.95
) -> Estimate | None:
    """Return the interval of ``first - second``, paired by seed and by example; None where they do not pair.

    The loss is a ratio, summed loss over target tokens, and so is the difference of two on the same examples:
    R = Σ d / (S Σ t) with d the difference of the summed losses of a seed on an example. Its deviations
    x = (d - R t) n / Σ t are taken apart as of two crossed random effects, seeds and examples:

        Var R = A + B - C, with A the variance of the seeds' means over S, B that of the examples' means
        over n, C that of what is left over S n, which A and B both contain.

    This is the analysis of variance of two crossed random effects (Searle, Casella and McCulloch, Variance
    Components, 1992, section 4.3), and the same sum as clustering by two ways (Cameron, Gelbach and Miller,
    Journal of Business & Economic Statistics 29, 2011). Degrees of freedom are Satterthwaite's. With one seed
    the interval is over examples alone, with one example over seeds alone.
    """
    if len(first) != len(second) or not first:
        return None
    tokens = first[0].tokens.astype(np.float64)
    total, examples = float(tokens.sum()), len(tokens)
    if not total or any(not np.array_equal(one.tokens, first[0].tokens) for one in (*first, *second)):
        return None
    differences: Numbers = np.stack(
        [
            one.losses.astype(np.float64) - other.losses.astype(np.float64)
            for one, other in zip(first, second, strict=True)
        ]
    )
    if not np.isfinite(differences).all():
        return None
    seeds = len(differences)
    ratio = float(differences.sum()) / (seeds * total)
    variance, freedom = _variance((differences - ratio * tokens) * (examples / total))
    width = None if freedom == 0 else t_quantile(0.5 + level / 2, freedom) * math.sqrt(variance)
    return _estimate(ratio, width, seeds, examples)


def _variance(deviations: Numbers) -> tuple[float, float]:
    """Return the variance of the mean of ``[seeds, examples]`` deviations, and its degrees of freedom."""
    seeds, examples = deviations.shape
    of_seeds, of_examples = deviations.mean(axis=1), deviations.mean(axis=0)
    a = float((of_seeds**2).sum()) / ((seeds - 1) * seeds) if seeds > 1 else 0.0
    b = float((of_examples**2).sum()) / ((examples - 1) * examples) if examples > 1 else 0.0
    if seeds == 1 or examples == 1:
        return a + b, float(seeds * examples - 1)
    rest = deviations - of_seeds[:, None] - of_examples[None, :]
    c = float((rest**2).sum()) / ((seeds - 1) * (examples - 1) * seeds * examples)
    # A difference of estimates may fall below what each effect alone is seen to do.
    variance = max(a, b, a + b - c)
    if variance == 0:
        return 0.0, float(seeds - 1)
    parts = a**2 / (seeds - 1) + b**2 / (examples - 1) + c**2 / ((seeds - 1) * (examples - 1))
    return variance, max(variance**2 / parts, float(min(seeds, examples) - 1))


def _estimate(value: float, width: float | None, seeds: int, examples: int) -> Estimate:
    return Estimate(
        value=value,
        low=None if width is None else value - width,
        high=None if width is None else value + width,
        seeds=seeds,
        examples=examples,
    )
