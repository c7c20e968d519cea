"""Reading what a user writes about the space: ``--set`` texts, YAML files, and both over a preset.

One parameter is written as

    learning_rate=1e-5..2e-3:log    a range; ``:log`` or ``:linear`` names its scale
    lora_rank=8,16,32               a list of choices, searched in order
    batch_size=8                    one fixed value
    batch_size=4..64                whole numbers: the powers of two from 4 to 64
    lora_target=q_proj,v_proj|all   targets hold commas themselves, so ``|`` separates them

A range whose scale is not named is logarithmic where its high is at least 100 times its low. In
YAML the same words may follow the name, or a list, or ``{low: 1e-5, high: 2e-3, log: true}``.
Knows nothing of the limits of a value; space.py and params.py hold them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from ..errors import SpaceError, nearest, shown
from ..yamlfile import complaint, read_mapping
from .dimension import Dimension
from .dimensions import listed
from .listed import MAX_CHOICES
from .params import HYPERPARAMETERS, RATIO, LoraParams, check_name, value_of
from .presets import Preset
from .range import Range
from .space import ALPHA, SearchSpace
from .value_kinds import Switch, Whole, is_number

LOG_FROM = 100
"""A range is searched in log, where the user does not say, from this ratio of high to low."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_EXAMPLES = "write a value (8), a list (8,16,32) or a range (1e-5..2e-3:log)"


def number(value: object) -> int | float:
    """Return the number that a user wrote as text or in YAML, where ``1e-5`` is a text.

    Raises ``ValueError``; NaN, infinities and true are no numbers.
    """
    if isinstance(value, str):
        text = value.strip()
        if len(text) <= 40 and _INTEGER.fullmatch(text):
            return int(text)
        if len(text) <= 40 and _NUMBER.fullmatch(text):
            value = float(text)
    if is_number(value):
        return value  # type: ignore[return-value]
    raise ValueError("is not a finite number")


class RangeModel(BaseModel):
    """A range as YAML spells it: ``{low: 1e-5, high: 2e-3, log: true}``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    low: Annotated[int | float, BeforeValidator(number)]
    """Least value."""
    high: Annotated[int | float, BeforeValidator(number)]
    """Greatest value."""
    log: bool | None = None
    """Whether the scale is logarithmic; left out, it is where high is 100 times low."""


def parse_set(text: str) -> Dimension:
    """Return the dimension of one ``--set`` text, such as ``lora_rank=8,16,32``."""
    name, equals, spec = text.partition("=")
    name = name.strip()
    if not equals:
        raise SpaceError(f"--set {shown(text)}: has no '='; write NAME=VALUE, such as lora_rank=8,16,32")
    return dimension(name, spec)


def dimension(name: str, spec: object) -> Dimension:
    """Return a dimension from what stands behind its name: words, a number, a list or a mapping."""
    check_name(name)
    if isinstance(spec, Mapping):
        return _from_mapping(name, spec)
    if isinstance(spec, list | tuple):
        return _from_list(name, spec)
    if isinstance(spec, str):
        return _from_text(name, spec)
    return listed(name, (_value(name, spec, name),))


def dimensions(specs: Mapping[str, object]) -> tuple[Dimension, ...]:
    """Return the dimensions of a mapping from names to what stands behind them."""
    if specs.keys() >= ALPHA:
        raise SpaceError("lora_alpha: cannot be given beside lora_alpha_ratio; give one of them")
    return tuple(dimension(name, spec) for name, spec in specs.items())


def configuration(values: Mapping[str, object], rest: LoraParams | None = None) -> LoraParams:
    """Return one trial's parameters as a user wrote them; ``lora_alpha_ratio`` may stand for alpha.

    What is left out is as in ``rest``, where that is given: the ratio, and not alpha itself.
    """
    if rest is not None:
        known = {name: value_of(rest, name) for name in HYPERPARAMETERS if name not in ALPHA}
        if not values.keys() & ALPHA:
            known[RATIO.name] = rest.alpha_ratio
        values = {**known, **values}
    named: dict[str, Any] = {}
    for one in dimensions(values):
        if not one.fixed:
            raise SpaceError(f"{one.name}: {one.words} is more than one value; a configuration has one")
        named[one.name] = one.values[0]
    if RATIO.name in named and "lora_rank" in named:
        named["lora_alpha"] = named[RATIO.name] * named["lora_rank"]
    named.pop(RATIO.name, None)
    return LoraParams.from_dict(named)


def load_space(path: Path) -> tuple[Dimension, ...]:
    """Return the dimensions of a YAML file of parameters; raises ``SpaceError`` naming file and field."""
    content = read_mapping(path, SpaceError, "lora_rank: [8, 16]")
    try:
        return dimensions(content)
    except SpaceError as error:
        raise SpaceError(f"{' '.join(str(path).split())}: {error}") from None


def build_space(
    base: Preset,
    file: Path | None,
    sets: Sequence[str],
    settings: Mapping[str, object] | None = None,
) -> SearchSpace:
    """Return the preset's space with the user's words over it, the later over the earlier.

    Args:
        base: the preset.
        file: a YAML file of parameters (``--space FILE``), or None.
        sets: texts of ``--set``, the last word.
        settings: what stands under ``set`` in a ``--config`` file; goes over the file, under ``sets``.
    """
    space = base.space
    if file is not None:
        space = space.replace(*load_space(file))
    if settings:
        try:
            space = space.replace(*dimensions(settings))
        except SpaceError as error:
            raise SpaceError(f"set.{error}") from None
    # Of two texts for one name the later counts, as with any flag that is given twice.
    return space.replace(*{one.name: one for one in map(parse_set, sets)}.values())


def _from_mapping(name: str, spec: Mapping[Any, Any]) -> Dimension:
    try:
        model = RangeModel.model_validate({str(key): value for key, value in spec.items()})
    except ValidationError as error:
        raise SpaceError(f"{name}.{complaint(error, RangeModel.model_fields)}") from None
    return _range(name, model.low, model.high, model.log)


def _from_list(name: str, spec: Sequence[object]) -> Dimension:
    if not spec:
        raise SpaceError(f"{name}: the list is empty; {_EXAMPLES}")
    if len(spec) > MAX_CHOICES:
        raise SpaceError(f"{name}: has {len(spec)} values; at most {MAX_CHOICES} can be searched")
    return listed(name, (_value(name, item, f"{name}[{index}]") for index, item in enumerate(spec)))


def _from_text(name: str, spec: str) -> Dimension:
    text = spec.strip()
    if not text:
        raise SpaceError(f"{name}: has no value; {_EXAMPLES}")
    kind = HYPERPARAMETERS[name].kind
    if ".." in text and kind.ordered:
        low, _, rest = text.partition("..")
        high, colon, scale = rest.partition(":")
        scale = scale.strip()
        if colon and scale not in ("log", "linear"):
            raise SpaceError(
                f"{name}: {shown(scale)} is not a scale; write :log or :linear"
                + nearest(scale, ("log", "linear"))
            )
        ends = [_value(name, end, f"{name}.{side}") for end, side in ((low, "low"), (high, "high"))]
        return _range(name, ends[0], ends[1], scale == "log" if colon else None)
    parts = [part.strip() for part in text.split(kind.separator)]
    if not all(parts):
        raise SpaceError(f"{name}: {shown(text)} has an empty place between {kind.separator!r}; {_EXAMPLES}")
    return _from_list(name, parts) if len(parts) > 1 else listed(name, (_value(name, parts[0], name),))


def _value(name: str, item: object, path: str) -> Any:
    """Return one value in its type, as far as its writing goes; its limits are the dimension's matter."""
    kind = HYPERPARAMETERS[name].kind
    if isinstance(kind, Switch):
        said = {"true": True, "false": False}
        return said.get(item.strip().lower(), item) if isinstance(item, str) else item
    if not kind.ordered:
        if not isinstance(item, str):
            raise SpaceError(f"{path}: {shown(item)} is not a word")
        return item.strip()
    try:
        return number(item)
    except ValueError:
        wanted = "a whole number" if isinstance(kind, Whole) else "a finite number"
        raise SpaceError(f"{path}: {shown(item)} is not {wanted}; {_EXAMPLES}") from None


def _range(name: str, low: float, high: float, log: bool | None) -> Dimension:
    if isinstance(HYPERPARAMETERS[name].kind, Whole):
        return _powers_of_two(name, low, high)
    if log is None:
        log = low > 0 and high >= LOG_FROM * low
    return Range(name=name, low=low, high=high, log=log)


def _powers_of_two(name: str, low: float, high: float) -> Dimension:
    """Return the powers of two from low to high, in whose order the parameter is searched."""
    for side, end in (("low", low), ("high", high)):
        if not isinstance(end, int) or end < 1 or end & (end - 1):
            raise SpaceError(
                f"{name}.{side}: {shown(end)} is not a power of two, as the ends of a range of {name} are; "
                f"or list the values, such as {name}=8,12,16"
            )
    if low > high:
        raise SpaceError(f"{name}: low {low} is above high {high}; swap them")
    first, last = int(low).bit_length() - 1, int(high).bit_length() - 1
    return listed(name, (2**power for power in range(first, last + 1)))
