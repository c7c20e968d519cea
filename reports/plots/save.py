"""Plots as files: a figure made from the facts of its kind, written as a page or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from ...errors import UsageError
from ...whole_files import check_ours, write_text
from ..view import StudyView
from .kinds import facts_json, known, plot_facts

_MARKS = {".html": b"<!-- a plot of loratune -->", ".json": b'{\n "kind": '}
"""What every plot of ours begins with, by its ending."""


def plot_figure(view: StudyView, kind: str) -> go.Figure:
    """Return a plot as a plotly figure; raises what ``kinds.plot_facts`` raises."""
    return known(kind).figure(plot_facts(view, kind))


def write_plot(view: StudyView, kind: str, path: Path) -> None:
    """Write a plot to ``.html`` (self-contained, works offline) or ``.json`` (its facts and its figure).

    Raises ``UsageError`` for an unknown kind or ending, ``ReportError`` where there is too little to plot.
    """
    chosen = known(kind)
    ending = path.suffix.lower()
    if ending not in (".html", ".json"):
        raise UsageError(f"{path.name}: a plot is written to .html or .json, not to {ending or 'no ending'}")
    check_ours(path, _MARKS[ending])
    facts = chosen.facts(view)
    figure = chosen.figure(facts)
    if ending == ".json":
        document = {
            "kind": kind,
            "study": view.study.name,
            "facts": facts_json(facts),
            "figure": json.loads(plotly.io.to_json(figure)),
        }
        write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return
    figure.update_layout(title={"text": f"{chosen.words} · {view.study.name}", "x": 0.01}, margin={"t": 90})
    html = plotly.io.to_html(
        figure, include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True}
    )
    write_text(path, "<!doctype html>\n<!-- a plot of loratune -->\n" + html)
