"""How good the answers are, as rows of a table: a metric each, with a cell for each model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..metrics.labels import LabelMetrics
from ..study.format import show_loss
from .answer_facts import Answered

Row = tuple[str, tuple[str, ...]]
"""A metric, and what each model has of it."""

_ROWS: tuple[tuple[str, Callable[[Answered], float | None]], ...] = (
    ("eval loss", lambda one: one.loss),
    ("perplexity", lambda one: one.perplexity),
    ("token accuracy", lambda one: one.token_accuracy),
    ("selected by", lambda one: one.score),
)
_LABELS: tuple[tuple[str, Callable[[LabelMetrics], float | None]], ...] = (
    ("accuracy", lambda found: found.accuracy),
    ("precision, macro", lambda found: found.precision_macro),
    ("recall, macro", lambda found: found.recall_macro),
    ("F1, macro", lambda found: found.f1_macro),
    ("precision, weighted", lambda found: found.precision_weighted),
    ("recall, weighted", lambda found: found.recall_weighted),
    ("F1, weighted", lambda found: found.f1_weighted),
    ("area under the ROC curve", lambda found: found.auc),
)


def answer_rows(answered: Sequence[Answered]) -> list[Row]:
    """Return a row for each metric that any of the models has."""
    rows = [(name, [of(one) for one in answered]) for name, of in _ROWS]
    rows += [
        (name, [None if one.labels is None else of(one.labels) for one in answered]) for name, of in _LABELS
    ]
    return [
        (name, tuple(_shown(value) for value in values))
        for name, values in rows
        if any(value is not None for value in values)
    ]


def _shown(value: float | None) -> str:
    return show_loss(value) if value is None or value < 1e6 else f"{value:.2g}"
