"""The kinds of plots by name, and how the facts of each are extracted; nothing here draws."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable
from typing import Any

from ...errors import ReportError, UsageError, nearest
from ..importance import importance
from ..view import StudyView
from . import data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of plot."""

    words: str
    """What it shows, in one line."""
    facts: Callable[[StudyView], Any]
    """From a study to its facts; raises ``ReportError`` where there is too little."""


def _some(extract: Callable[[StudyView], Any], field: str, missing: str) -> Callable[[StudyView], Any]:
    """Return an extractor that refuses a study with nothing to draw."""

    def extracted(view: StudyView) -> Any:
        facts = extract(view)
        if not getattr(facts, field):
            raise ReportError(f"study {view.study.name!r}: {missing}; {view.more()}")
        return facts

    return extracted


KINDS: dict[str, Kind] = {
    "importance": Kind(
        words="Which hyperparameters set the best trials apart",
        facts=importance,
    ),
    "history": Kind(
        words="Every trial's loss, and the best so far",
        facts=_some(data.history, "points", "no trial has started yet"),
    ),
    "curves": Kind(
        words="Eval loss over training examples",
        facts=_some(data.curves, "lines", "no trial was evaluated yet"),
    ),
    "parallel": Kind(
        words="Every trial across the hyperparameters",
        facts=_some(data.parallel, "lines", "no trial has ended yet"),
    ),
    "timeline": Kind(
        words="Which trials trained when",
        facts=_some(data.timeline, "spans", "no trial was trained yet"),
    ),
}
"""Every kind of plot, by the name that ``tune plot`` takes."""


def plot_facts(view: StudyView, kind: str) -> Any:
    """Return the facts of a plot; raises ``UsageError`` with the nearest kind for an unknown one."""
    return known(kind).facts(view)


def known(name: str) -> Kind:
    """Return the kind of that name; raises ``UsageError`` with the nearest one."""
    if name not in KINDS:
        raise UsageError(f"{name!r} is not a plot{nearest(name, KINDS)}; there are {', '.join(KINDS)}")
    return KINDS[name]


def facts_json(facts: Any) -> Any:
    """Return facts as plain JSON values; times as ISO 8601, what is not finite as null."""
    if dataclasses.is_dataclass(facts) and not isinstance(facts, type):
        return {field.name: facts_json(getattr(facts, field.name)) for field in dataclasses.fields(facts)}
    if isinstance(facts, dict):
        return {str(key): facts_json(value) for key, value in facts.items()}
    if isinstance(facts, list | tuple):
        return [facts_json(value) for value in facts]
    if isinstance(facts, datetime.datetime):
        return facts.isoformat()
    if isinstance(facts, float) and not math.isfinite(facts):
        return None
    return facts
