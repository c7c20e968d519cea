"""The kinds of plots by name; a new one is a file of its own and a line here. Nothing here draws."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import Any

from ...errors import UsageError, nearest
from ..view import StudyView
from . import curves, history, importance, parallel, pareto, timeline
from .kind import Kind

KINDS: dict[str, Kind] = {
    "importance": importance.KIND,
    "history": history.KIND,
    "curves": curves.KIND,
    "parallel": parallel.KIND,
    "pareto": pareto.KIND,
    "timeline": timeline.KIND,
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
