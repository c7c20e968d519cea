"""The search space: which values each hyperparameter may take, and how a sampler is asked for them.

Ordered numbers are searched as numbers, or by their index in a list; only words are categories.
Knows nothing of how a space is written down (parse.py) or of the presets (presets.py).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from .errors import SpaceError, nearest, shown
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

REQUIRED = ("learning_rate", "batch_size", "lora_rank")
"""What every space must say; ``lora_alpha`` or ``lora_alpha_ratio`` comes on top."""

MAX_CHOICES = 256
"""Longest list of choices of one parameter."""

EDGE = 0.02
"""Share of a range, in its own scale, that counts as its edge."""

_NEAR = 1e-9
_FLOOR = {"warmup_ratio": 0.0, "lora_dropout": 0.0, "weight_decay": 0.0, "batch_size": 1, "lora_rank": 1}
_SAMPLE = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=8, lora_alpha=16.0)
_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(LoraParams)
    if field.default is not dataclasses.MISSING
}


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """All the dimensions of a study, in the order of ``NAMES``; what it does not name has its default.

    >>> space = SearchSpace(dimensions=(
    ...     Dimension(name="learning_rate", low=1e-5, high=1e-3, log=True),
    ...     Dimension(name="batch_size", choices=(8,)),
    ...     Dimension(name="lora_rank", choices=(8, 16)),
    ...     Dimension(name="lora_alpha_ratio", choices=(2.0,)),
    ... ))
    >>> space.decode({"learning_rate": 1e-4, "lora_rank": 1}).lora_alpha
    32.0
    """

    dimensions: tuple[Dimension, ...]
    """One for each searched or fixed parameter."""

    def __post_init__(self) -> None:
        names = [dimension.name for dimension in self.dimensions]
        for name in names:
            if names.count(name) > 1:
                raise SpaceError(f"{name}: is given twice in one space")
        missing = [name for name in REQUIRED if name not in names]
        if missing:
            raise SpaceError(f"{missing[0]}: has no value; a space needs {', '.join(REQUIRED)}")
        if "lora_alpha" in names and "lora_alpha_ratio" in names:
            raise SpaceError("lora_alpha: cannot be given beside lora_alpha_ratio; give one of them")
        if "lora_alpha" not in names and "lora_alpha_ratio" not in names:
            raise SpaceError("lora_alpha_ratio: has no value; give it, or lora_alpha")
        ordered = tuple(sorted(self.dimensions, key=lambda dimension: NAMES.index(dimension.name)))
        object.__setattr__(self, "dimensions", ordered)
        if "lora_alpha_ratio" in names:
            greatest = self["lora_alpha_ratio"].bounds[1]
            if not math.isfinite(greatest * self.lora_ranks()[-1]):
                raise SpaceError(f"lora_alpha_ratio: {greatest:g} times the rank is not a finite number")

    def __getitem__(self, name: str) -> Dimension:
        """Return the dimension of that name; one that is not named is fixed at its default."""
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        if name in _DEFAULTS:
            return Dimension(name=name, choices=(_DEFAULTS[name],))
        raise SpaceError(f"{shown(name)}: not a parameter of this space{nearest(str(name), NAMES)}")

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of what varies, by name."""
        return {
            dimension.name: dimension.distribution() for dimension in self.dimensions if not dimension.fixed
        }

    def decode(self, suggested: Mapping[str, Any]) -> LoraParams:
        """Return the parameters that a sampler's suggestion means, with the fixed ones added."""
        varied = [dimension.name for dimension in self.dimensions if not dimension.fixed]
        for name in suggested:
            if name not in varied:
                raise SpaceError(f"{shown(name)}: is not searched here{nearest(str(name), varied)}")
        values: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.fixed:
                values[dimension.name] = dimension.choices[0]
            elif dimension.name in suggested:
                values[dimension.name] = dimension.value_of(suggested[dimension.name])
            else:
                raise SpaceError(f"{dimension.name}: is missing among {', '.join(varied)}")
        return _params(values)

    def encode(self, params: LoraParams) -> dict[str, Any]:
        """Return the suggestion that means these parameters; the inverse of ``decode``.

        Raises ``SpaceError``, naming the parameter, where one lies outside the space.
        """
        values = self._values(params)
        encoded: dict[str, Any] = {}
        for dimension in (self[name] for name in values):
            suggestion = dimension.suggestion_of(values[dimension.name])
            if not dimension.fixed:
                encoded[dimension.name] = suggestion
        return encoded

    def closest(self, params: LoraParams) -> LoraParams:
        """Return the parameters of this space closest to the given ones, such as a preset's default.

        Where alpha is searched by its ratio to the rank, the ratio is kept and not alpha.
        """
        values = self._values(params)
        return _params({name: self[name].closest(value) for name, value in values.items()})

    def edges(self, params: LoraParams) -> tuple[str, ...]:
        """Return a clause for each parameter at the end of its range; see ``Dimension.edge``."""
        values = self._values(params)
        found = [dimension.edge(values[dimension.name]) for dimension in self.dimensions]
        return tuple(clause for clause in found if clause is not None)

    def batch_sizes(self) -> tuple[int, ...]:
        """Return every batch size that may be tried, ascending."""
        return tuple(int(choice) for choice in self["batch_size"].choices)

    def lora_ranks(self) -> tuple[int, ...]:
        """Return every rank that may be tried, ascending."""
        return tuple(int(choice) for choice in self["lora_rank"].choices)

    def lora_targets(self) -> tuple[str, ...]:
        """Return every ``lora_target`` that may be tried."""
        return tuple(str(choice) for choice in self["lora_target"].choices)

    def without_batch_sizes_above(self, limit: int) -> SearchSpace:
        """Return the space with the larger batch sizes left out; ``SpaceError`` where none is left."""
        kept = tuple(size for size in self.batch_sizes() if size <= limit)
        if not kept:
            raise SpaceError(f"batch_size: the smallest, {self.batch_sizes()[0]}, is above {limit}")
        return self.replace(Dimension(name="batch_size", choices=kept))

    def replace(self, *dimensions: Dimension) -> SearchSpace:
        """Return the space with these dimensions for its own; alpha and its ratio displace each other."""
        names = {dimension.name for dimension in dimensions}
        if names & {"lora_alpha", "lora_alpha_ratio"}:
            names |= {"lora_alpha", "lora_alpha_ratio"}
        kept = tuple(dimension for dimension in self.dimensions if dimension.name not in names)
        return SearchSpace(dimensions=kept + dimensions)

    def size(self) -> int | None:
        """Return how many different parameters there are; None where a range makes it continuous."""
        if any(not dimension.choices for dimension in self.dimensions):
            return None
        return math.prod(len(dimension.choices) for dimension in self.dimensions)

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Return each dimension's name and what it may be, in words."""
        return tuple((dimension.name, dimension.words) for dimension in self.dimensions)

    def to_dict(self) -> dict[str, Any]:
        """Return the space as a plain dictionary, ready for JSON."""
        return {dimension.name: dimension.to_dict() for dimension in self.dimensions}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchSpace:
        """Make a space from what ``to_dict`` returned; raises ``SpaceError``."""
        dimensions = []
        for name, entry in values.items():
            check_name(name)
            if not isinstance(entry, Mapping) or not set(entry) <= {"low", "high", "log", "choices"}:
                raise SpaceError(f"{name}: {shown(entry)} is not a stored dimension")
            choices = entry.get("choices", ())
            if not isinstance(choices, Sequence) or isinstance(choices, str):
                raise SpaceError(f"{name}.choices: {shown(choices)} is not a list")
            dimensions.append(Dimension(name=name, **{**entry, "choices": tuple(choices)}))
        return cls(dimensions=tuple(dimensions))

    def _values(self, params: LoraParams) -> dict[str, Value]:
        """Return the params under this space's names: alpha as alpha or as its ratio."""
        values: dict[str, Value] = params.to_dict()
        if any(dimension.name == "lora_alpha_ratio" for dimension in self.dimensions):
            # Rounds back to the very same alpha when multiplied by the rank again.
            values["lora_alpha_ratio"] = float(values.pop("lora_alpha")) / params.lora_rank
        return values


def check_name(name: object) -> None:
    """Raise ``SpaceError``, with the nearest name, unless ``name`` may be searched."""
    if name not in NAMES:
        raise SpaceError(f"{shown(name)}: not a parameter that can be searched{nearest(str(name), NAMES)}")


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


def _params(values: Mapping[str, Any]) -> LoraParams:
    """Return parameters from values under search names."""
    named = dict(values)
    if "lora_alpha_ratio" in named:
        named["lora_alpha"] = named.pop("lora_alpha_ratio") * named["lora_rank"]
    return LoraParams(**named)


def _distance(one: float, other: float) -> float:
    """Return how far apart two numbers are: as a ratio where both are above 0."""
    if one > 0 and other > 0:
        return max(one / other, other / one) - 1
    return abs(one - other)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"
