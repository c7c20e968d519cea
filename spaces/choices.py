"""A list of numbers, searched in their order by the index in it: 8 lies between 4 and 16."""

from __future__ import annotations

import dataclasses

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from ..errors import SpaceError, shown
from .listed import Listed
from .value_kinds import Value, Whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices(Listed):
    """Numbers, ascending; see ``Dimension`` for what its methods do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.kind.ordered, f"{self.name}: words are Categories"
        object.__setattr__(self, "choices", tuple(sorted(self.choices, key=float)))

    @property
    def bounds(self) -> tuple[float, float]:
        """The first and the last of the list."""
        return float(self.choices[0]), float(self.choices[-1])

    def distribution(self) -> IntDistribution:
        """Return a distribution of the index."""
        return IntDistribution(0, len(self.choices) - 1)

    def value_distribution(self) -> BaseDistribution:
        """Return the range of whole numbers or floats that the list spans."""
        low, high = self.bounds
        if isinstance(self.kind, Whole):
            return IntDistribution(int(low), int(high), log=True)
        return FloatDistribution(low, high, log=low > 0)

    def value_of(self, suggested: object) -> Value:
        """Return the choice at an index."""
        if isinstance(suggested, bool) or not isinstance(suggested, int):
            raise SpaceError(f"{self.name}: {shown(suggested)} is not an index into {self.words}")
        if not 0 <= suggested < len(self.choices):
            raise SpaceError(f"{self.name}: index {shown(suggested)} lies outside {self.words}")
        return self.choices[suggested]

    def suggestion_of(self, value: object) -> int:
        """Return the index of a choice."""
        return self.index_of(value)

    def closest(self, value: Value) -> Value:
        """Return the choice that is nearest, by ratio where both are above 0."""
        return min(self.choices, key=lambda choice: _distance(float(choice), float(value)))

    def edge(self, value: Value) -> str | None:
        """Return a clause for the first and the last choice."""
        if self.fixed:
            return None
        low, high = self.bounds
        return self.edge_of(value, at_low=value == low, at_high=value == high)


def _distance(one: float, other: float) -> float:
    """Return how far apart two numbers are: as a ratio where both are above 0."""
    if one > 0 and other > 0:
        return max(one / other, other / one) - 1
    return abs(one - other)
