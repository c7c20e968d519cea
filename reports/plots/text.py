"""A plot as plain text for a terminal, never wider than it.

Knows nothing of colors or of how a terminal is found; the command prints what it gets.
"""

from __future__ import annotations

from ..view import StudyView
from .kinds import known


def plot_text(view: StudyView, kind: str, width: int = 80) -> str:
    """Return a plot as lines of text; raises what ``kinds.plot_facts`` raises."""
    chosen = known(kind)
    lines = chosen.text(chosen.facts(view), max(40, width))
    return "\n".join(line.rstrip() for line in lines)
