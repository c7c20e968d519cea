"""Which of the siblings a dimension is: made from a list of values, or from what was stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import SpaceError, shown
from .categories import Categories
from .choices import Choices
from .dimension import Dimension
from .params import HYPERPARAMETERS, check_name
from .range import Range
from .value_kinds import Value


def listed(name: str, choices: Iterable[Value]) -> Choices | Categories:
    """Return the dimension of a list of values, one value to fix it; raises ``SpaceError``."""
    check_name(name)
    made = Choices if HYPERPARAMETERS[name].kind.ordered else Categories
    return made(name=name, choices=tuple(choices))


def stored(name: str, entry: object) -> Dimension:
    """Make a dimension from what its ``to_dict`` returned; raises ``SpaceError``."""
    check_name(name)
    if not isinstance(entry, Mapping) or not set(entry) <= {"low", "high", "log", "choices"}:
        raise SpaceError(f"{name}: {shown(entry)} is not a stored dimension")
    choices = entry.get("choices", ())
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        raise SpaceError(f"{name}.choices: {shown(choices)} is not a list")
    low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
    if not choices and low is not None and high is not None:
        return Range(name=name, low=low, high=high, log=log)
    if choices and (low is not None or high is not None or log):
        raise SpaceError(f"{name}: has both choices and a range; give one of them")
    return listed(name, choices)
