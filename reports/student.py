"""Student's t distribution, for intervals over a handful of seeds: SciPy is no dependency for one number."""

from __future__ import annotations

import math

_STEPS = 400
"""Most terms of the continued fraction; a dozen are the rule."""


def t_quantile(probability: float, freedom: float) -> float:
    """Return the value that a t distributed number stays below with that probability.

    Args:
        probability: between 0 and 1, neither of both.
        freedom: degrees of freedom, above 0, not necessarily whole.

    Example:
        >>> round(t_quantile(0.975, 4), 3), round(t_quantile(0.975, 1e6), 2)
        (2.776, 1.96)
    """
    assert 0 < probability < 1, probability
    assert freedom > 0, freedom
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    tail = 1 - probability
    low, high = 0.0, 1.0
    while _tail(high, freedom) > tail:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        if _tail(middle, freedom) > tail:
            low = middle
        else:
            high = middle
    return high


def _tail(value: float, freedom: float) -> float:
    """Return the probability of more than a value of at least 0."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value)) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b) by its continued fraction.

    DLMF 8.17.22, evaluated by Lentz's method; https://dlmf.nist.gov/8.17
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly, its mirror image does not
        return 1 - _incomplete_beta(b, a, 1 - x)
    scale = math.exp(
        math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
        + a * math.log(x)
        + b * math.log1p(-x)
        - math.log(a)
    )
    tiny = 1e-300
    above, below, value = 1.0, 0.0, 1.0
    for step in range(_STEPS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        below = 1 / _apart_from_zero(1 + term * below, tiny)
        above = _apart_from_zero(1 + term / above, tiny)
        value *= above * below
        if step and abs(1 - above * below) < 1e-14:
            break
    return scale * (value - 1)


def _apart_from_zero(value: float, least: float) -> float:
    return value if abs(value) > least else least
