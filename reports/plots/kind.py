"""What every plot is: words, and functions from a study to facts, and from facts to a figure and to text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import ReportError
from ..view import StudyView

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of plot."""

    words: str
    """What it shows, in one line."""
    facts: Callable[[StudyView], Any]
    """From a study to its facts; raises ``ReportError`` where there is too little."""
    figure: Callable[[Any], go.Figure]
    """From its facts to a figure; loads plotly when it is called."""
    text: Callable[[Any, int], list[str]]
    """From its facts to lines for a terminal of so many columns."""


def some(extract: Callable[[StudyView], Any], field: str, missing: str) -> Callable[[StudyView], Any]:
    """Return an extractor that refuses a study with nothing to draw."""

    def extracted(view: StudyView) -> Any:
        facts = extract(view)
        if not getattr(facts, field):
            raise ReportError(f"study {view.study.name!r}: {missing}; {view.more()}")
        return facts

    return extracted
