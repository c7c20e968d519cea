"""What values one hyperparameter may have: a number, a whole number, a word, on or off, names of modules.

Five siblings behind one contract. Know no hyperparameter by name, and nothing of how it is searched.
"""

from __future__ import annotations

import abc
import dataclasses
import math
import sys
from typing import ClassVar

from ..errors import SpaceError, nearest, shown

Value = int | float | str | bool

NEAR = 1e-9
"""Two floats that lie this near, relative, are one value."""


class ValueKind(abc.ABC):
    """The values that a hyperparameter may have."""

    ordered: ClassVar[bool] = True
    """Whether one value lies above another: numbers are searched in their order, words are not."""
    separator: ClassVar[str] = ","
    """What stands between two values where a user lists them."""

    @property
    @abc.abstractmethod
    def limits(self) -> str:
        """What is allowed, in words: ``above 0``."""

    @abc.abstractmethod
    def check(self, path: str, value: object) -> None:
        """Raise ``SpaceError``, which begins with ``path``, unless the value is allowed."""

    @abc.abstractmethod
    def listed(self, path: str, value: object) -> Value:
        """Return an allowed value as a list or a range of a search holds it; raises ``SpaceError``."""

    def plain(self, value: Value) -> Value:
        """Return an allowed value in the type that others take."""
        return value

    def canonical(self, value: Value) -> Value:
        """Return the one spelling of all values that mean the same."""
        return value

    def same(self, one: object, other: object) -> bool:
        """Return whether two values mean the same."""
        return one == other

    @property
    def floor(self) -> Value | None:
        """The least value that is allowed; None where there is none, as above 0."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number(ValueKind):
    """A finite number, a float to all who use it."""

    above: float | None = None
    """What it must be greater than."""
    least: float | None = None
    """The smallest value."""
    below: float | None = None
    """What it must be less than."""

    @property
    def limits(self) -> str:
        """See ``ValueKind``."""
        ends = (("above", self.above), ("at least", self.least), ("below", self.below))
        return " and ".join(f"{word} {end:g}" for word, end in ends if end is not None)

    def check(self, path: str, value: object) -> None:
        """See ``ValueKind``."""
        fits = (
            is_number(value)
            and (self.above is None or value > self.above)  # type: ignore[operator]
            and (self.least is None or value >= self.least)  # type: ignore[operator]
            and (self.below is None or value < self.below)  # type: ignore[operator]
        )
        if not fits:
            raise SpaceError(f"{path}: {shown(value)} is not a number {self.limits}")

    def listed(self, path: str, value: object) -> float:
        """See ``ValueKind``."""
        self.check(path, value)
        return float(value)  # type: ignore[arg-type]

    def plain(self, value: Value) -> float:
        """See ``ValueKind``."""
        return float(value)

    def same(self, one: object, other: object) -> bool:
        """See ``ValueKind``; up to the rounding of floats."""
        return _close(one, other)

    @property
    def floor(self) -> Value | None:
        """See ``ValueKind``."""
        return self.least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole(ValueKind):
    """A whole number, searched as a list: by its order, never between two values of the list."""

    least: int = 1
    """The smallest value."""
    most: int
    """The largest value; more is a slip of the keyboard."""

    @property
    def limits(self) -> str:
        """See ``ValueKind``."""
        return f"whole, {self.least} to {self.most}"

    def check(self, path: str, value: object) -> None:
        """See ``ValueKind``."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            raise SpaceError(f"{path}: {shown(value)} is not a whole number from {self.least} to {self.most}")

    def listed(self, path: str, value: object) -> int:
        """See ``ValueKind``."""
        self.check(path, value)
        return value  # type: ignore[return-value]

    def same(self, one: object, other: object) -> bool:
        """See ``ValueKind``."""
        return _close(one, other)

    @property
    def floor(self) -> Value | None:
        """See ``ValueKind``."""
        return self.least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Word(ValueKind):
    """One of a few words."""

    ordered: ClassVar[bool] = False
    options: tuple[str, ...]
    """All that are allowed."""

    @property
    def limits(self) -> str:
        """See ``ValueKind``."""
        return ", ".join(f"`{option}`" for option in self.options)

    def check(self, path: str, value: object) -> None:
        """See ``ValueKind``."""
        if value not in self.options:
            raise SpaceError(
                f"{path}: {shown(value)} is not one of {', '.join(self.options)}"
                + nearest(str(value), self.options)
            )

    def listed(self, path: str, value: object) -> str:
        """See ``ValueKind``."""
        self.check(path, value)
        return str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Switch(ValueKind):
    """On or off."""

    ordered: ClassVar[bool] = False

    @property
    def limits(self) -> str:
        """See ``ValueKind``."""
        return "`false`, `true`"

    def check(self, path: str, value: object) -> None:
        """See ``ValueKind``."""
        if not isinstance(value, bool):
            raise SpaceError(f"{path}: {shown(value)} is neither true nor false")

    def listed(self, path: str, value: object) -> bool:
        """See ``ValueKind``."""
        self.check(path, value)
        return bool(value)

    def same(self, one: object, other: object) -> bool:
        """See ``ValueKind``; 1 is not true."""
        return isinstance(one, bool) and one is other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Modules(ValueKind):
    """``all``, or names of modules with commas; their order does not matter."""

    ordered: ClassVar[bool] = False
    separator: ClassVar[str] = "|"

    @property
    def limits(self) -> str:
        """See ``ValueKind``."""
        return "`all`, or module names with commas"

    def check(self, path: str, value: object) -> None:
        """See ``ValueKind``."""
        if not isinstance(value, str) or not all(module_names(value)):
            raise SpaceError(f"{path}: {shown(value)} is not 'all' or a comma list such as 'q_proj,v_proj'")

    def listed(self, path: str, value: object) -> str:
        """See ``ValueKind``; a module that is named twice is a slip."""
        self.check(path, value)
        names = module_names(str(value))
        if len(set(names)) < len(names) or ("all" in names and len(names) > 1):
            raise SpaceError(f"{path}: {shown(value)} names a module twice; leave one out")
        return ",".join(names)

    def canonical(self, value: Value) -> str:
        """See ``ValueKind``; sorted, and no module twice."""
        return ",".join(sorted(set(module_names(str(value)))))

    def same(self, one: object, other: object) -> bool:
        """See ``ValueKind``; the same modules in whatever order."""
        both = isinstance(one, str) and isinstance(other, str)
        return both and set(module_names(str(one))) == set(module_names(str(other)))


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def module_names(target: str) -> list[str]:
    """Return the names of a comma list, in its order: ``q_proj, v_proj`` is ``q_proj`` and ``v_proj``."""
    return [name.strip() for name in target.split(",")]


def _close(one: object, other: object) -> bool:
    both = is_number(one) and is_number(other)
    return both and math.isclose(one, other, rel_tol=NEAR)  # type: ignore[arg-type]
