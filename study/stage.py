"""A study that follows from another: which of its trials are trained again, longer or under other seeds.

Such a study proposes nothing and stops nobody: its trials are listed here, in the order of their numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..spaces.params import LoraParams

Kind = Literal["longer", "confirm", "train"]
"""``longer``: good trials go on to a greater length; ``confirm``: again under several seeds; ``train``: the
chosen one at full length."""


SEEDS_COVERED = 8
"""The padded lengths of a study hold for its seed and the next seven, for repeats of a trial."""

NAME_LENGTH = 64
"""Most characters of a study's name."""


def child_name(parent: str, kind: str, number: int) -> str:
    """Return the name of the n-th study of a kind, from 1, that follows from another.

    >>> child_name("demo", "confirm", 1), child_name("demo", "confirm", 2)
    ('demo.confirm', 'demo.confirm-2')
    """
    end = f".{kind}" + (f"-{number}" if number > 1 else "")
    return parent[: NAME_LENGTH - len(end)] + end


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One trial of such a study."""

    params: LoraParams
    """Its hyperparameters."""
    seed: int
    """Seed of its data order, initial adapter and dropout."""
    trial: int
    """The trial of the parent that it repeats or goes on from."""
    start: int = 0
    """Rounds of its own length that it has done at its beginning; 0 where it begins anew."""
    rate: float = 1.0
    """Its learning rate, as a share of that of the trial that it goes on from."""

    @property
    def origin(self) -> str:
        """Where it comes from, in words: ``3``, or ``3 (at 0.5 of its learning rate)``."""
        slower = "" if self.rate == 1.0 else f" (at {self.rate:g} of its learning rate)"
        return f"{self.trial}{slower}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """What follows from a study."""

    kind: Kind
    """What it is for."""
    parent: str
    """The study that it follows from."""
    entries: tuple[Entry, ...]
    """Its trials, at least one, in the order of their numbers."""

    @property
    def words(self) -> str:
        """What it does, in words: ``trains trial 3 of study demo at full length``."""
        trials = [str(number) for number in dict.fromkeys(entry.trial for entry in self.entries)]
        one = len(trials) == 1
        which = f"trial{'' if one else 's'} {', '.join(trials)} of study {self.parent}"
        if self.kind == "longer":
            return f"{which} {'goes' if one else 'go'} on to a greater length"
        if self.kind == "confirm":
            return f"confirms {which} under several seeds"
        return f"trains {which} at full length"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain dictionaries and lists."""
        entries = [{**vars(entry), "params": entry.params.to_dict()} for entry in self.entries]
        return {"kind": self.kind, "parent": self.parent, "entries": entries}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Stage:
        """Make one from what ``to_json`` returned; raises ``SpaceError`` or what a wrong type raises."""
        entries = tuple(
            Entry(**{**entry, "params": LoraParams.from_dict(entry["params"])}) for entry in values["entries"]
        )
        return cls(kind=values["kind"], parent=values["parent"], entries=entries)
