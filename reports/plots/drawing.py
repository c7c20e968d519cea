"""What the figures share: colors, lines of many trials in one trace, the highest loss shown, the look.

Plain SVG traces alone: they need no WebGL, print well, and run under a strict content policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from ...study.format import show_loss

BEST = "#047857"
BASE = "#64748b"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

HEADROOM = 0.08
"""Space above the highest loss shown, as a share of the span."""


def one_trace(
    parts: Iterable[tuple[Iterable[int], Iterable[float], list[str]]],
    color: str,
    name: str,
    opacity: float,
    width: float,
    *,
    marker: int,
) -> go.Scatter:
    """Return lines, each ``(x, y, text)``, as one trace parted by gaps: a trace for each would be slow."""
    x: list[int | None] = []
    y: list[float | None] = []
    hover: list[str] = []
    for across, up, text in parts:
        x += [*across, None]
        y += [*up, None]
        hover += [*text, ""]
    return go.Scatter(
        x=x,
        y=y,
        name=name,
        mode="lines+markers",
        opacity=opacity,
        line={"color": color, "width": width},
        marker={"size": marker},
        hovertext=hover,
        hoverinfo="text",
    )


def top_of(final: Sequence[float], losses: Sequence[float | None], base_loss: float) -> float:
    """Return the highest loss to show: a few exploding trials must not flatten all the others."""
    known = [loss for loss in losses if loss is not None]
    ceiling = max([base_loss, *final])
    floor = min([base_loss, *known])
    span = max(ceiling - floor, 1e-3 * abs(ceiling), 1e-9)
    return ceiling + HEADROOM * span


def base_line(figure: go.Figure, loss: float, top: float) -> None:
    """Draw the base model's loss across a figure."""
    figure.add_hline(
        y=loss,
        line={"color": BASE, "dash": "dash", "width": 1},
        annotation={"text": f"base model {show_loss(loss)}", "font": {"size": 11, "color": BASE}},
        annotation_position="bottom right" if loss > 0.5 * top else "top right",
    )


def dressed(figure: go.Figure, *, height: int, legend: bool = True, legend_below: bool = False) -> go.Figure:
    """Give a figure the common look."""
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 13, "color": "#0f172a"},
        height=height,
        margin={"l": 10, "r": 16, "t": 34, "b": 10},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": -0.08 if legend_below else 1.0}
        | {"yanchor": "top" if legend_below else "bottom"},
        hoverlabel={"align": "left"},
        autosize=True,
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure
