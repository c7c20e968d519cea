"""The search space: all dimensions of a study, between a sampler's suggestions and a trial's parameters.

Knows nothing of how a space is written down (parse.py) or of the presets (presets.py).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from optuna.distributions import BaseDistribution

from ..errors import SpaceError, nearest, shown
from .dimension import Dimension
from .dimensions import listed, stored
from .params import FIELDS, NAMES, RATIO, LoraParams, from_searched
from .value_kinds import Value

REQUIRED = tuple(name for name, one in FIELDS.items() if one.default is None and name != RATIO.stands_for)
"""What every space must say; ``lora_alpha`` or ``lora_alpha_ratio`` comes on top."""

ALPHA = frozenset({"lora_alpha", RATIO.name})
"""Two names for one thing, of which a space has exactly one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """All the dimensions of a study, in the order of ``NAMES``; what it does not name has its default.

    >>> from loratune.spaces.choices import Choices
    >>> from loratune.spaces.range import Range
    >>> space = SearchSpace(dimensions=(
    ...     Range(name="learning_rate", low=1e-5, high=1e-3, log=True),
    ...     Choices(name="batch_size", choices=(8,)),
    ...     Choices(name="lora_rank", choices=(8, 16)),
    ...     Choices(name="lora_alpha_ratio", choices=(2.0,)),
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
        given = ALPHA & set(names)
        if len(given) > 1:
            raise SpaceError("lora_alpha: cannot be given beside lora_alpha_ratio; give one of them")
        if not given:
            raise SpaceError("lora_alpha_ratio: has no value; give it, or lora_alpha")
        ordered = tuple(sorted(self.dimensions, key=lambda dimension: NAMES.index(dimension.name)))
        object.__setattr__(self, "dimensions", ordered)
        if RATIO.name in names:
            greatest = self[RATIO.name].bounds[1]
            if not math.isfinite(greatest * self.lora_ranks()[-1]):
                raise SpaceError(f"lora_alpha_ratio: {greatest:g} times the rank is not a finite number")

    def __getitem__(self, name: str) -> Dimension:
        """Return the dimension of that name; one that is not named is fixed at its default."""
        for dimension in self.dimensions:
            if dimension.name == name:
                return dimension
        default = FIELDS[name].default if name in FIELDS else None
        if default is not None:
            return listed(name, (default,))
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
                values[dimension.name] = dimension.values[0]
            elif dimension.name in suggested:
                values[dimension.name] = dimension.value_of(suggested[dimension.name])
            else:
                raise SpaceError(f"{dimension.name}: is missing among {', '.join(varied)}")
        return from_searched(values)

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

    def value_distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distributions of what varies that hold the parameters' own values, for people."""
        return {
            dimension.name: dimension.value_distribution()
            for dimension in self.dimensions
            if not dimension.fixed
        }

    def values(self, params: LoraParams) -> dict[str, Value]:
        """Return parameters as ``value_distributions`` hold them; raises ``SpaceError``."""
        return {name: self[name].value_of(suggested) for name, suggested in self.encode(params).items()}

    def closest(self, params: LoraParams) -> LoraParams:
        """Return the parameters of this space closest to the given ones, such as a preset's default.

        Where alpha is searched by its ratio to the rank, the ratio is kept and not alpha.
        """
        values = self._values(params)
        return from_searched({name: self[name].closest(value) for name, value in values.items()})

    def holding(self, params: LoraParams, *, but: Collection[str] = ()) -> SearchSpace:
        """Return the space widened to have these parameters, but for dimensions of the names given."""
        values = self._values(params)
        wider = [self[name].holding(value) for name, value in values.items() if name not in but]
        return self.replace(*(one for one in wider if one != self[one.name]))

    def edges(self, params: LoraParams) -> tuple[str, ...]:
        """Return a clause for each parameter at the end of its range; see ``Dimension.edge``."""
        values = self._values(params)
        found = [dimension.edge(values[dimension.name]) for dimension in self.dimensions]
        return tuple(clause for clause in found if clause is not None)

    def batch_sizes(self) -> tuple[int, ...]:
        """Return every batch size that may be tried, ascending."""
        return tuple(int(choice) for choice in self["batch_size"].values)

    def lora_ranks(self) -> tuple[int, ...]:
        """Return every rank that may be tried, ascending."""
        return tuple(int(choice) for choice in self["lora_rank"].values)

    def lora_targets(self) -> tuple[str, ...]:
        """Return every ``lora_target`` that may be tried."""
        return tuple(str(choice) for choice in self["lora_target"].values)

    def has_dropout(self) -> bool:
        """Say whether a trial may use dropout."""
        return max(self["lora_dropout"].bounds) > 0

    def without_batch_sizes_above(self, limit: int) -> SearchSpace:
        """Return the space with the larger batch sizes left out; ``SpaceError`` where none is left."""
        kept = tuple(size for size in self.batch_sizes() if size <= limit)
        if not kept:
            raise SpaceError(f"batch_size: the smallest, {self.batch_sizes()[0]}, is above {limit}")
        return self.replace(listed("batch_size", kept))

    def replace(self, *dimensions: Dimension) -> SearchSpace:
        """Return the space with these dimensions for its own; alpha and its ratio displace each other."""
        names = {dimension.name for dimension in dimensions}
        if names & ALPHA:
            names |= ALPHA
        kept = tuple(dimension for dimension in self.dimensions if dimension.name not in names)
        return SearchSpace(dimensions=kept + dimensions)

    @property
    def size(self) -> int | None:
        """How many configurations there are; None where they cannot be counted."""
        counts = [len(dimension.values) for dimension in self.dimensions]
        return math.prod(counts) if all(counts) else None

    def describe(self) -> tuple[tuple[str, str], ...]:
        """Return each dimension's name and what it may be, in words."""
        return tuple((dimension.name, dimension.words) for dimension in self.dimensions)

    def to_dict(self) -> dict[str, Any]:
        """Return the space as a plain dictionary, ready for JSON."""
        return {dimension.name: dimension.to_dict() for dimension in self.dimensions}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchSpace:
        """Make a space from what ``to_dict`` returned; raises ``SpaceError``."""
        return cls(dimensions=tuple(stored(name, entry) for name, entry in values.items()))

    def _values(self, params: LoraParams) -> dict[str, Value]:
        """Return the params under this space's names: alpha as alpha or as its ratio."""
        values: dict[str, Value] = params.to_dict()
        if any(dimension.name == RATIO.name for dimension in self.dimensions):
            # Rounds back to the very same alpha when multiplied by the rank again.
            values[RATIO.name] = float(values.pop("lora_alpha")) / params.lora_rank
        return values
