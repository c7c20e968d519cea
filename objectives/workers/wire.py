"""What goes through the pipe between a search and a worker process, each message a frozen value.

    search → worker     a ``Command``
    worker → search     an ``Answer`` to ``Prepare``, then a ``WorkerEvent`` of ``base.py`` at a time

Messages are pickled (exact for NaN, tuples and paths), and never stored.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ...spaces.params import LoraParams
from ...study.config import ObjectiveConfig
from ...study.facts import Facts
from ..base import Part, WorkerEvent, WorkerFailed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare:
    """Load data and model; comes first, and is answered."""

    config: ObjectiveConfig
    """What is to be trained."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Add:
    """Put a trial into a free slot; ``SlotFailed`` where that cannot be, else nothing is said."""

    trial: int
    """The trial's number."""
    params: LoraParams
    """Its hyperparameters."""
    seed: int
    """Seed of its data order, initial adapter and dropout."""
    attempt: int
    """Names its files."""
    resume_from: Path | None
    """The training state that it goes on from; None: from its beginning."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remove:
    """Free a trial's slot; nothing happens where it has none."""

    trial: int
    """The trial's number."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainRound:
    """Train every trial inside for a round; ``RoundProgress`` comes meanwhile, ``Done`` at last."""

    save_to: Path
    """The folder of their training states."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure an adapter in a free slot; ``Evaluated`` is the answer."""

    adapter: Path
    """Its file, or a training state."""
    params: LoraParams
    """Hyperparameters of its trial."""
    part: Part
    """Which examples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate:
    """Let an adapter answer validation prompts in a free slot; ``Generated`` is the answer."""

    adapter: Path | None
    """Its file, or a training state; None: the base model alone."""
    params: LoraParams
    """Hyperparameters of its trial."""
    count: int
    """How many prompts, from the first validation example on."""
    most: int
    """Tokens of an answer, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogTo:
    """Print into another file from now on."""

    file: Path
    """It is appended to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Close:
    """End at once, in the midst of a round if need be."""


Command = Prepare | Add | Remove | TrainRound | Evaluate | Generate | LogTo | Close


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ready:
    """Data and model are loaded."""

    facts: Facts
    """What was found."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """Data, model or budget are not what can be trained."""

    kind: str
    """The error's class, a name in ``errors.py``."""
    message: str
    """Its words."""


Answer = Ready | Refused | WorkerFailed
Message = Ready | Refused | WorkerEvent
