"""One dimension of the search: which values a hyperparameter may take, and how a sampler is asked for it.

Ordered numbers are searched as numbers, or by their index in a list; only words are categories.
Knows nothing of the other dimensions (space.py) or of how one is written down (parse.py).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from ..errors import SpaceError, nearest, shown
from .params import LoraParams

Value = int | float | str

NAMES = (
    "learning_rate",
    "batch_size",
    "lora_rank",
    "lora_alpha_ratio",
    "lora_alpha",
    "warmup_ratio",
    "lora_dropout",
    "weight_decay",
    "lora_target",
    "lr_scheduler_type",
    "loraplus_lr_ratio",
)
"""What may be searched, in the order of every listing; ``lora_alpha = lora_alpha_ratio * lora_rank``."""

WHOLE = ("batch_size", "lora_rank")
"""Parameters that are whole numbers; they are lists of choices, never ranges."""

WORDS = ("lora_target", "lr_scheduler_type")
"""Parameters that are words, searched as categories."""

MAX_CHOICES = 256
"""Longest list of choices of one parameter."""

EDGE = 0.02
"""Share of a range, in its own scale, that counts as its edge."""

_NEAR = 1e-9
_FLOOR = {"warmup_ratio": 0.0, "lora_dropout": 0.0, "weight_decay": 0.0, "batch_size": 1, "lora_rank": 1}
_SAMPLE = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dimension:
    """What one parameter may be: a range of floats, or a list of choices (one choice: fixed).

    Every value is held to the limits of ``LoraParams``; raises ``SpaceError``.
    """

    name: str
    """One of ``NAMES``."""
    low: float | None = None
    """Least value of a range; None for choices."""
    high: float | None = None
    """Greatest value of a range; None for choices."""
    log: bool = False
    """Whether the range is searched on a logarithmic scale."""
    choices: tuple[Value, ...] = ()
    """The values of a list; numbers ascending, words in the order given."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.choices:
            if self.low is not None or self.high is not None or self.log:
                raise SpaceError(f"{self.name}: has both choices and a range; give one of them")
            object.__setattr__(self, "choices", _checked_choices(self.name, self.choices))
            return
        if self.low is None or self.high is None:
            raise SpaceError(f"{self.name}: is empty; give a value, a list of values, or a low and a high")
        if self.name in WHOLE + WORDS:
            raise SpaceError(f"{self.name}: cannot be a range of fractions; give a list of values")
        if not isinstance(self.log, bool):
            raise SpaceError(f"{self.name}.log: {shown(self.log)} is not true or false")
        # Before the limits of the parameter, so that the message speaks of the log scale.
        if self.log and is_number(self.low) and self.low <= 0:
            raise SpaceError(f"{self.name}.low: {self.low:g} cannot begin a log range; it must be above 0")
        object.__setattr__(self, "low", _checked(self.name, self.low, f"{self.name}.low"))
        object.__setattr__(self, "high", _checked(self.name, self.high, f"{self.name}.high"))
        low, high = self.bounds
        if low > high:
            raise SpaceError(f"{self.name}: low {low:g} is above high {high:g}; swap them")
        if math.isclose(low, high, rel_tol=_NEAR):
            raise SpaceError(f"{self.name}: low and high are both {low:g}; give that one value to fix it")

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value of numbers."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return float(self.choices[0]), float(self.choices[-1])

    @property
    def fixed(self) -> bool:
        """Whether there is nothing to search."""
        return len(self.choices) == 1

    @property
    def words(self) -> str:
        """What it may be, for people: ``1e-05 to 0.002, log scale`` or ``4, 8, 16``."""
        if not self.choices:
            return f"{self.low:g} to {self.high:g}" + (", log scale" if self.log else "")
        mark = " | " if self.name == "lora_target" else ", "
        return mark.join(_text(value) for value in self.choices) + (" (fixed)" if self.fixed else "")

    def distribution(self) -> BaseDistribution:
        """Return what a sampler is asked for: a float, an index into ordered choices, or a word."""
        if not self.choices:
            low, high = self.bounds
            return FloatDistribution(low, high, log=self.log)
        if self.name in WORDS:
            return CategoricalDistribution([str(choice) for choice in self.choices])
        return IntDistribution(0, len(self.choices) - 1)

    def value_distribution(self) -> BaseDistribution:
        """Return a distribution that holds the values themselves: a list of numbers is the range it spans.

        For people and their tools; a sampler that were asked for it would be given values between those of
        the list.
        """
        if self.name in WORDS or not self.choices:
            return self.distribution()
        low, high = self.bounds
        if self.name in WHOLE:
            return IntDistribution(int(low), int(high), log=True)
        return FloatDistribution(low, high, log=low > 0)

    def value_of(self, suggested: object) -> Value:
        """Return the parameter's value for what a sampler suggested."""
        if not self.choices:
            return self._within(suggested)
        if self.name in WORDS:
            return self.choices[self._index(suggested)]
        if isinstance(suggested, bool) or not isinstance(suggested, int):
            raise SpaceError(f"{self.name}: {shown(suggested)} is not an index into {self.words}")
        if not 0 <= suggested < len(self.choices):
            raise SpaceError(f"{self.name}: index {shown(suggested)} lies outside {self.words}")
        return self.choices[suggested]

    def suggestion_of(self, value: object) -> Value:
        """Return what a sampler would have suggested for a value; the inverse of ``value_of``."""
        if not self.choices:
            return self._within(value)
        index = self._index(value)
        return self.choices[index] if self.name in WORDS else index

    def closest(self, value: Value) -> Value:
        """Return the value of this dimension that is closest; the first word where none is equal."""
        if self.name in WORDS:
            same = [choice for choice in self.choices if _same(self.name, choice, value)]
            return (same or list(self.choices))[0]
        number = float(value)
        if not self.choices:
            low, high = self.bounds
            return min(max(number, low), high)
        numbers = [(_distance(float(choice), number), choice) for choice in self.choices]
        return min(numbers, key=lambda pair: pair[0])[1]

    def edge(self, value: Value) -> str | None:
        """Return a clause where the value sits at the end of an ordered range, else None.

        An end beyond which no value is valid (a rank of 1, no dropout) is no edge: nothing lies behind it.
        """
        if self.name in WORDS or self.fixed:
            return None
        low, high = self.bounds
        if self.choices:
            at_low, at_high = value == low, value == high
        else:
            scale = math.log if self.log else float
            share = (scale(float(value)) - scale(low)) / (scale(high) - scale(low))
            at_low, at_high = share <= EDGE, share >= 1 - EDGE
        if at_high:
            return f"{self.name} {_text(value)} is at the high end of {low:g} to {high:g}"
        if at_low and _FLOOR.get(self.name) != low:
            return f"{self.name} {_text(value)} is at the low end of {low:g} to {high:g}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return it as a plain dictionary, ready for JSON."""
        if self.choices:
            return {"choices": list(self.choices)}
        return {"low": self.low, "high": self.high, "log": self.log}

    def _within(self, value: object) -> float:
        """Return a number of the range; one outside by mere rounding is moved onto its end."""
        low, high = self.bounds
        if is_number(value):
            number = float(value)  # type: ignore[arg-type]
            inside = min(max(number, low), high)
            if math.isclose(number, inside, rel_tol=_NEAR):
                return inside
        raise SpaceError(f"{self.name}: {shown(value)} lies outside {self.words}")

    def _index(self, value: object) -> int:
        """Return the place of a value among the choices."""
        for index, choice in enumerate(self.choices):
            if _same(self.name, choice, value):
                return index
        raise SpaceError(f"{self.name}: {shown(value)} is not among {self.words}")


def check_name(name: object) -> None:
    """Raise ``SpaceError``, with the nearest name, unless ``name`` may be searched."""
    if name not in NAMES:
        hint = nearest(str(name), NAMES) or f"; there are {', '.join(NAMES)}"
        raise SpaceError(f"{shown(name)}: not a parameter that can be searched{hint}")


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _checked_choices(name: str, choices: Sequence[object]) -> tuple[Value, ...]:
    """Return valid choices without repeats, numbers ascending."""
    if len(choices) > MAX_CHOICES:
        raise SpaceError(f"{name}: has {len(choices)} values; at most {MAX_CHOICES} can be searched")
    values = [
        _checked(name, choice, name if len(choices) == 1 else f"{name}[{index}]")
        for index, choice in enumerate(choices)
    ]
    for index, value in enumerate(values):
        if any(_same(name, earlier, value) for earlier in values[:index]):
            raise SpaceError(f"{name}[{index}]: {shown(value)} is there twice; leave one out")
    return tuple(values) if name in WORDS else tuple(sorted(values, key=float))


def _checked(name: str, value: object, path: str) -> Value:
    """Return one value of a parameter in its own type; errors name ``path``."""
    field = "lora_alpha" if name == "lora_alpha_ratio" else name
    try:
        dataclasses.replace(_SAMPLE, **{field: value})  # type: ignore[arg-type]
    except SpaceError as error:
        raise SpaceError(f"{path}: {str(error).removeprefix(field + ': ')}") from None
    if name in WHOLE:
        return value  # type: ignore[return-value]
    if name == "lr_scheduler_type":
        return str(value)
    if name == "lora_target":
        modules = [module.strip() for module in str(value).split(",")]
        if len(set(modules)) < len(modules) or ("all" in modules and len(modules) > 1):
            raise SpaceError(f"{path}: {shown(value)} names a module twice; leave one out")
        return ",".join(modules)
    return float(value)  # type: ignore[arg-type]


def _same(name: str, choice: Value, value: object) -> bool:
    """Return whether two values of a parameter mean the same, up to the rounding of floats."""
    if name == "lora_target":
        return isinstance(value, str) and _modules(str(choice)) == _modules(value)
    if name in WORDS:
        return choice == value
    return is_number(value) and math.isclose(choice, value, rel_tol=_NEAR)  # type: ignore[arg-type]


def _modules(target: str) -> set[str]:
    return {module.strip() for module in target.split(",")}


def _distance(one: float, other: float) -> float:
    """Return how far apart two numbers are: as a ratio where both are above 0."""
    if one > 0 and other > 0:
        return max(one / other, other / one) - 1
    return abs(one - other)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"
