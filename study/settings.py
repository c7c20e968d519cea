"""How a user names a sampler or a pruner and sets it: ``halving``, ``halving:factor=3,peers=6``.

Each kind is a frozen value of whole numbers, stored with the study; a registry knows all kinds of one sort.
Knows none of them by name: they are in samplers.py and pruners.py.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from ..errors import UsageError, nearest


def whole(default: int, *, low: int = 0, high: int = 100_000, among: tuple[int, ...] = ()) -> Any:
    """Return the field of a setting: a whole number between two ends, or one of a few."""
    return dataclasses.field(
        default=default, metadata={"allowed": among or (low, high), "listed": bool(among)}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What one kind of sampler or pruner goes by; checked when made, raises ``UsageError``."""

    name: ClassVar[str]
    """What users call it."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _allows(field, value):
                raise UsageError(f"{self.name}: {field.name}: {value!r} is not {_range(field)}")

    @property
    def spelled(self) -> str:
        """As a user writes it, with what differs from the default: ``halving:factor=3``."""
        changed = [
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"{self.name}:{','.join(changed)}" if changed else self.name

    def __str__(self) -> str:
        return self.spelled

    @property
    def described(self) -> str:
        """In words, with every setting: ``halving (factor 2, first 2, peers 4)``."""
        each = [f"{name} {value}" for name, value in self._values().items()]
        return f"{self.name} ({', '.join(each)})" if each else self.name

    def to_json(self) -> dict[str, Any]:
        """Return its name and every setting."""
        return {"name": self.name, **self._values()}

    def _values(self) -> dict[str, int]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


Kind = TypeVar("Kind", bound=Settings)


class Registry(Generic[Kind]):
    """All kinds of one sort, by the names that users write."""

    def __init__(self, *kinds: type[Kind], before: Mapping[str, Kind]) -> None:
        """Take the kinds, the default first, and what a bare word meant in studies without settings."""
        self._kinds = {kind.name: kind for kind in kinds}
        self._before = before

    @property
    def default(self) -> Kind:
        """What is taken where nobody chooses: the first kind as it is."""
        return self.kinds[0]()

    @property
    def names(self) -> tuple[str, ...]:
        """What may be chosen, in the order of the registry."""
        return tuple(self._kinds)

    @property
    def kinds(self) -> tuple[type[Kind], ...]:
        """Every kind, in the order of the registry."""
        return tuple(self._kinds.values())

    def parse(self, given: object) -> Kind:
        """Return what a user wrote; ``ValueError`` says, in one clause about the text, what is wrong."""
        if isinstance(given, Settings) and type(given) in self._kinds.values():
            return given  # type: ignore[return-value]
        name, mark, rest = str(given).partition(":")
        if name not in self._kinds or not isinstance(given, str):
            choices = ", ".join(map(repr, self._kinds))
            now = self._before.get(name)
            hint = nearest(name, self._kinds) if now is None else f" ({name} is called {now.name} now)"
            raise ValueError(f"is not one of {choices}{hint}")
        kind = self._kinds[name]
        fields = {field.name: field for field in dataclasses.fields(kind)}
        if mark and not fields:
            raise ValueError(f"has settings after the colon, and {name} has none")
        values: dict[str, int] = {}
        for part in rest.split(",") if mark else ():
            key, _, text = (word.strip() for word in part.partition("="))
            if key not in fields:
                known = f"write {name}:{next(iter(fields))}=N, of {', '.join(fields)}"
                raise ValueError(f"has {key!r}, which is no setting of {name}{nearest(key, fields)}; {known}")
            if key in values:
                raise ValueError(f"sets {key} twice")
            number = int(text) if re.fullmatch(r"[+-]?\d{1,9}", text, re.ASCII) else None
            if number is None or not _allows(fields[key], number):
                raise ValueError(f"sets {key} to {text!r}, which is not {_range(fields[key])}")
            values[key] = number
        return kind(**values)

    def from_json(self, stored: object) -> Kind:
        """Return what ``to_json`` gave, or what a study of before there were settings went by.

        What a stored value lacks has its default. Raises ``LookupError``, ``TypeError`` or ``UsageError``.
        """
        if isinstance(stored, str):
            return self._before[stored]
        if not isinstance(stored, Mapping):
            raise TypeError(f"{stored!r} is no mapping")
        return self._kinds[stored["name"]](**{key: value for key, value in stored.items() if key != "name"})


def _allows(field: dataclasses.Field[Any], value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    allowed: tuple[int, ...] = field.metadata["allowed"]
    return value in allowed if field.metadata["listed"] else allowed[0] <= value <= allowed[1]


def _range(field: dataclasses.Field[Any]) -> str:
    allowed: tuple[int, ...] = field.metadata["allowed"]
    if field.metadata["listed"]:
        return f"one of {', '.join(map(str, allowed))}"
    return f"a whole number from {allowed[0]} to {allowed[1]}"
