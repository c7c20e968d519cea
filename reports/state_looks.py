"""How a trial's state looks, wherever it is shown: in a table, in a drawing of letters, in a figure."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How one state looks."""

    style: str
    """In the terminal, as Rich names it."""
    mark: str
    """One character."""
    color: str
    """In figures and on the page."""


LOOKS: dict[str, Look] = {
    "complete": Look(style="green", mark="●", color="#2563eb"),
    "pruned": Look(style="yellow", mark="·", color="#94a3b8"),
    "diverged": Look(style="magenta", mark="×", color="#dc2626"),
    "infeasible": Look(style="magenta", mark="!", color="#a855f7"),
    "failed": Look(style="red", mark="!", color="#111827"),
    "running": Look(style="cyan", mark="○", color="#f59e0b"),
    "waiting": Look(style="blue", mark="◦", color="#0ea5e9"),
    "interrupted": Look(style="cyan", mark="○", color="#f59e0b"),
}
"""Every state by name, as ``StudyView.state_of`` gives it, in the order of a legend."""

DRAWN = (*list(LOOKS)[1:], "complete")
"""The order in which states are drawn: what is drawn last lies on top."""
