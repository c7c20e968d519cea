"""A list of words, between which there is no order: schedules, sets of modules."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

from optuna.distributions import CategoricalDistribution

from ..errors import SpaceError
from .listed import Listed
from .value_kinds import Value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Categories(Listed):
    """Words in the order given; see ``Dimension`` for what its methods do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        assert not self.kind.ordered, f"{self.name}: numbers are Choices"

    @property
    def bounds(self) -> NoReturn:
        """Words have none."""
        raise SpaceError(f"{self.name}: words have no least and no greatest")

    def distribution(self) -> CategoricalDistribution:
        """Return a distribution of the words, as they are."""
        return CategoricalDistribution(self.choices)

    def value_distribution(self) -> CategoricalDistribution:
        """Return the same as ``distribution``."""
        return self.distribution()

    def value_of(self, suggested: object) -> Value:
        """Return the word, spelt as here."""
        return self.choices[self.index_of(suggested)]

    def suggestion_of(self, value: object) -> Value:
        """Return the word, spelt as here."""
        return self.value_of(value)

    def closest(self, value: Value) -> Value:
        """Return the word itself, or the first where it is none of these."""
        return next((choice for choice in self.choices if self.kind.same(choice, value)), self.choices[0])

    def edge(self, _value: Value) -> None:
        """Words have no ends."""
