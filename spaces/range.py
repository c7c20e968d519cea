"""A range of floats, searched as a number, on a logarithmic scale where it spans orders of magnitude."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from optuna.distributions import FloatDistribution

from ..errors import SpaceError, shown
from .dimension import Dimension
from .value_kinds import NEAR, Number, Value, is_number

EDGE = 0.02
"""Share of a range, in its own scale, that counts as its edge."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Dimension):
    """All floats from ``low`` to ``high``, both included; see ``Dimension`` for what its methods do."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    log: bool = False
    """Whether it is searched on a logarithmic scale."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.kind, Number):
            raise SpaceError(f"{self.name}: cannot be a range of fractions; give a list of values")
        if not isinstance(self.log, bool):
            raise SpaceError(f"{self.name}.log: {shown(self.log)} is not true or false")
        # Before the limits of the parameter, so that the message speaks of the log scale.
        if self.log and is_number(self.low) and self.low <= 0:
            raise SpaceError(f"{self.name}.low: {self.low:g} cannot begin a log range; it must be above 0")
        low = self.kind.listed(f"{self.name}.low", self.low)
        high = self.kind.listed(f"{self.name}.high", self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if low > high:
            raise SpaceError(f"{self.name}: low {low:g} is above high {high:g}; swap them")
        if math.isclose(low, high, rel_tol=NEAR):
            raise SpaceError(f"{self.name}: low and high are both {low:g}; give that one value to fix it")

    @property
    def values(self) -> tuple[Value, ...]:
        """None: they cannot be counted."""
        return ()

    @property
    def bounds(self) -> tuple[float, float]:
        """Its two ends."""
        return self.low, self.high

    @property
    def words(self) -> str:
        """Both ends, and the scale where it is logarithmic."""
        return f"{self.low:g} to {self.high:g}" + (", log scale" if self.log else "")

    def distribution(self) -> FloatDistribution:
        """Return a float distribution of the same ends and scale."""
        return FloatDistribution(self.low, self.high, log=self.log)

    def value_distribution(self) -> FloatDistribution:
        """Return the same as ``distribution``."""
        return self.distribution()

    def value_of(self, suggested: object) -> float:
        """Return the number itself; one outside by mere rounding is moved onto its end."""
        if is_number(suggested):
            number = float(suggested)  # type: ignore[arg-type]
            inside = min(max(number, self.low), self.high)
            if math.isclose(number, inside, rel_tol=NEAR):
                return inside
        raise SpaceError(f"{self.name}: {shown(suggested)} lies outside {self.words}")

    def suggestion_of(self, value: object) -> float:
        """Return the number itself."""
        return self.value_of(value)

    def closest(self, value: Value) -> float:
        """Return the number, or the end that it lies beyond."""
        return min(max(float(value), self.low), self.high)

    def place(self, value: Value) -> float:
        """Return how far along the range a value lies, in its own scale: 0 at ``low``, 1 at ``high``."""
        scale = math.log if self.log else float
        return (scale(float(value)) - scale(self.low)) / (scale(self.high) - scale(self.low))

    def holding(self, value: Value) -> Range:
        """Return the range from or to the value, where that lies outside; a log range has no 0."""
        number = float(value)
        if (self.log and number <= 0) or math.isclose(number, self.closest(number), rel_tol=NEAR):
            return self
        return dataclasses.replace(self, low=min(self.low, number), high=max(self.high, number))

    def edge(self, value: Value) -> str | None:
        """Return a clause for a value within ``EDGE`` of an end."""
        share = self.place(value)
        return self.edge_of(value, at_low=share <= EDGE, at_high=share >= 1 - EDGE)

    def to_dict(self) -> dict[str, Any]:
        """Return ``low``, ``high`` and ``log``."""
        return {"low": self.low, "high": self.high, "log": self.log}
