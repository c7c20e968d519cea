"""What lists of numbers and lists of words have in common: values that can be counted, none of them twice."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from ..errors import SpaceError, shown
from .dimension import Dimension, text
from .value_kinds import Value

MAX_CHOICES = 256
"""Longest list of choices of one parameter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed(Dimension):
    """A list of values, one of which fixes the hyperparameter."""

    choices: tuple[Value, ...]
    """Its values, without repeats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.choices)
        if count == 0:
            raise SpaceError(f"{self.name}: is empty; give a value, a list of values, or a low and a high")
        if count > MAX_CHOICES:
            raise SpaceError(f"{self.name}: has {count} values; at most {MAX_CHOICES} can be searched")
        values = [
            self.kind.listed(self.name if count == 1 else f"{self.name}[{index}]", choice)
            for index, choice in enumerate(self.choices)
        ]
        for index, value in enumerate(values):
            if any(self.kind.same(earlier, value) for earlier in values[:index]):
                raise SpaceError(f"{self.name}[{index}]: {shown(value)} is there twice; leave one out")
        object.__setattr__(self, "choices", tuple(values))

    @property
    def values(self) -> tuple[Value, ...]:
        """The choices."""
        return self.choices

    @property
    def words(self) -> str:
        """The choices as a user lists them, and whether there is only one."""
        mark = self.kind.separator.center(3) if self.kind.separator != "," else ", "
        return mark.join(map(text, self.choices)) + (" (fixed)" if self.fixed else "")

    def index_of(self, value: object) -> int:
        """Return the place of a value among the choices; raises ``SpaceError`` where it is none."""
        for index, choice in enumerate(self.choices):
            if self.kind.same(choice, value):
                return index
        raise SpaceError(f"{self.name}: {shown(value)} is not among {self.words}")

    def holding(self, value: Value) -> Self:
        """Return the list with the value at its end, where it lacks it."""
        if any(self.kind.same(choice, value) for choice in self.choices):
            return self
        return dataclasses.replace(self, choices=(*self.choices, value))

    def to_dict(self) -> dict[str, Any]:
        """Return the ``choices``."""
        return {"choices": list(self.choices)}
