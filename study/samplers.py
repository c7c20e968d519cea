"""Who may propose trials, and what each goes by; ``search/samplers/`` has a file for each.

docs/search.md says in plain words what they do. Imports no library, so that help can name them at once.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from .settings import Registry, Settings, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplerSettings(Settings):
    """What one sampler goes by."""

    proposed: ClassVar[str]
    """What is said of a trial of its own."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tpe(SamplerSettings):
    """Optuna's tree-structured Parzen estimator."""

    name = "tpe"
    proposed = "proposed by TPE from the losses before"

    startup: int = whole(10)
    """So many trials after trial 0 are quasi-random; ten is TPE's own default. It does not grow with the
    number of trials: a study that is extended later has the start it would have had, and 24 trials leave TPE
    more than half."""
    finished: int = whole(4, low=1)
    """TPE is not asked before this many trials have ended: it would sample around chance."""
    remembered: int = whole(500, low=50)
    """Of a longer history TPE looks at so many trials, so that an ask costs the same in every study."""
    candidates: int = whole(24, low=1, high=10_000)
    """How many points it draws from what was good, to take the most promising of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Random(SamplerSettings):
    """Points drawn uniformly, each by itself."""

    name = "random"
    proposed = "drawn at random"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Qmc(SamplerSettings):
    """A scrambled Halton sequence: more even than chance, whatever the losses."""

    name = "qmc"
    proposed = "the next point of a sequence that fills the space evenly"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid(SamplerSettings):
    """Every combination of a grid once, in an order that is spread over it."""

    name = "grid"
    proposed = "the next point of the grid"

    points: int = whole(5, low=1, high=1000)
    """How many values of a range, both ends included and even on its scale; lists are taken whole."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gp(SamplerSettings):
    """Optuna's Gaussian process with expected improvement; needs scipy, and loads torch."""

    name = "gp"
    proposed = "proposed by a Gaussian process from the losses before"

    startup: int = whole(10)
    """So many trials after trial 0 are quasi-random, as with TPE."""
    finished: int = whole(4, low=2)
    """It is not asked before this many trials have ended."""
    remembered: int = whole(150, low=50, high=2000)
    """It looks at so many trials of a longer history: the time of an ask grows with their third power."""


SAMPLERS: Registry[SamplerSettings] = Registry(
    Tpe,
    Random,
    Qmc,
    Grid,
    Gp,
    before={"tpe": Tpe(startup=10, finished=4, remembered=500, candidates=24), "random": Random()},
)
"""All of them."""
