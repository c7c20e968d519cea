"""The contract of a dimension: which values a hyperparameter may take, and how a sampler is asked for it.

Three siblings keep it: ``Range`` (range.py) of floats, ``Choices`` (choices.py) of numbers in their order,
``Categories`` (categories.py) of words. Knows nothing of the other dimensions (space.py) or of how one is
written down (parse.py).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

from optuna.distributions import BaseDistribution

from .params import HYPERPARAMETERS, check_name
from .value_kinds import Value, ValueKind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dimension(abc.ABC):
    """What one hyperparameter may be; held to its limits when made, raises ``SpaceError``."""

    name: str
    """One of ``params.NAMES``."""

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def kind(self) -> ValueKind:
        """Which values the hyperparameter allows at all."""
        return HYPERPARAMETERS[self.name].kind

    @property
    @abc.abstractmethod
    def values(self) -> tuple[Value, ...]:
        """All its values; none where they cannot be counted."""

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return len(self.values) == 1

    @property
    @abc.abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value of numbers; raises ``SpaceError`` for words."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What it may be, for people: ``1e-05 to 0.002, log scale`` or ``4, 8, 16``."""

    @abc.abstractmethod
    def distribution(self) -> BaseDistribution:
        """Return what a sampler is asked for: a float, an index into ordered choices, or a word."""

    @abc.abstractmethod
    def value_distribution(self) -> BaseDistribution:
        """Return a distribution that holds the values themselves: a list of numbers is the range it spans.

        For people and their tools; a sampler that were asked for it would be given values between those of
        the list.
        """

    @abc.abstractmethod
    def value_of(self, suggested: object) -> Value:
        """Return the hyperparameter's value for what a sampler suggested."""

    @abc.abstractmethod
    def suggestion_of(self, value: object) -> Value:
        """Return what a sampler would have suggested for a value; the inverse of ``value_of``."""

    @abc.abstractmethod
    def closest(self, value: Value) -> Value:
        """Return the value of this dimension that is closest; the first word where none is equal."""

    @abc.abstractmethod
    def holding(self, value: Value) -> Dimension:
        """Return the dimension that has this value too; itself where it has it."""

    @abc.abstractmethod
    def edge(self, value: Value) -> str | None:
        """Return a clause where the value sits at the end of an ordered range, else None.

        An end beyond which no value is valid (a rank of 1, no dropout) is no edge: nothing lies behind it.
        """

    @abc.abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return it as a plain dictionary, ready for JSON, without its name."""

    def edge_of(self, value: Value, *, at_low: bool, at_high: bool) -> str | None:
        """Return the clause of ``edge`` for a value at these ends of ``bounds``."""
        low, high = self.bounds
        if at_high:
            return f"{self.name} {text(value)} is at the high end of {low:g} to {high:g}"
        if at_low and self.kind.floor != low:
            return f"{self.name} {text(value)} is at the low end of {low:g} to {high:g}"
        return None


def text(value: Value) -> str:
    """Return a value as a space's words give it: ``1e-05``, ``q_proj,v_proj``, ``true``."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:g}"
