"""How much memory a worker was predicted to take, part by part, beside the most that one was seen to hold."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, show_bytes
from ..study.memory import MemoryParts
from .view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """A worker's memory; on a GPU what lies there, on a CPU its whole process."""

    predicted_bytes: int
    """The peak that was predicted for as many trials as the study was made for."""
    measured_bytes: int
    """The most that a worker was seen to hold in a round."""
    slots: int
    """Trials that a worker holds."""
    together: int
    """Trials that go through the base model at once in the longest micro-step."""
    parts: MemoryParts
    """What the predicted peak is made of."""

    @property
    def words(self) -> str:
        """Both in a sentence."""
        parts = self.parts
        rows = parts.adapters + parts.gradients + parts.moments
        made_of = ", ".join(
            f"{show_bytes(size)} {name}"
            for name, size in (
                ("base model", parts.weights),
                ("adapters and their optimizer", rows),
                ("comes and goes", parts.height + parts.slack),
                ("libraries and data", parts.context),
            )
            if size
        )
        return (
            f"{show_bytes(self.measured_bytes)} at most in a worker, {show_bytes(self.predicted_bytes)} "
            f"predicted for {counted(self.slots, 'trial')}, {self.together} at once ({made_of})"
        )


def memory_use(view: StudyView) -> MemoryUse | None:
    """Return what was predicted and seen; None where nothing was trained yet, or in a study of before."""
    facts = view.study.facts
    seen = max((point.memory_bytes for point in view.curve), default=0)
    parts = facts.memory.parts
    if parts is None or not seen:
        return None
    return MemoryUse(
        predicted_bytes=parts.peak,
        measured_bytes=seen,
        slots=facts.slots,
        together=min(facts.slots, facts.memory.together or facts.slots),
        parts=parts,
    )
