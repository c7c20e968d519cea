"""What every exporter is: a name, what it makes and needs, and one function from a handover to a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..study.handover import Handover


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """What an exporter made."""

    text: str | None = None
    """The text itself where no place for it was named."""
    written: tuple[Path, ...] = ()
    """What was written, the place that was named first."""
    notes: tuple[str, ...] = ()
    """What whoever uses it should know, in sentences that stand nowhere else."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exporter:
    """One format that a trial can leave in."""

    format: str
    """Its name, as ``--format`` takes it."""
    meaning: str
    """What it is, in a few words."""
    makes: Literal["text", "file", "folder"]
    """A text may also be printed; the others need a place."""
    example: str
    """A place, for a message that asks for one."""
    needs_weights: bool = False
    """Whether ``Handover.adapter`` must be there, which may mean that the trial is trained again."""
    needs_folded: bool = False
    """Whether ``Handover.folded`` must be there too: the base model with those weights folded in."""
    check_place: Callable[[Handover, Path, bool], None] | None = None
    """Raises ``ReportError`` where a place cannot be written to: asked before anything that takes long."""
    export: Callable[[Handover, Path | None, bool], Export]
    """Writes the trial to a place, over what lies there only where the third argument says so.

    Without a place, which only texts may lack, it returns the text. Raises ``ReportError``.
    """
