"""What a run of a study tells whoever asked for it: that it begins, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from ..storage.store import Store
from ..study.events import Observer, StudyEnded
from ..study.records import StudyRecord
from .planning import Plan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Begun:
    """A study that is there and is about to be run."""

    study: StudyRecord
    """The study."""
    storage: str
    """Its database, without a password."""
    plan: Plan | None
    """What it will do, from ``start``; ``resume`` plans nothing: None."""
    store: Store
    """Its database, open as long as it runs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A run of a study that is over; where it was interrupted or its time was up, ``resume`` goes on."""

    study: str
    """The study's name."""
    trials: int
    """How many trials it is to have in all."""
    storage: str
    """Its database, without a password."""
    ended: StudyEnded
    """How the run ended."""


Watch = Callable[[Begun], AbstractContextManager[Sequence[Observer]]]
"""Entered once the study is there, left when its run is over; gives further observers."""


def nobody(_: Begun) -> AbstractContextManager[Sequence[Observer]]:
    """Watch nothing."""
    return contextlib.nullcontext(())
