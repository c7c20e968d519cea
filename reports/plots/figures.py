"""Facts in, a plotly figure out: one function for each kind, and nothing else.

Plain SVG traces alone: they need no WebGL, print well, and run under a strict content policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from ...study.format import counted, show_loss, show_share
from ..importance import Importance
from ..state_looks import DRAWN, LOOKS
from .data import CurveLine, Curves, History, Parallel, ParallelLine, Timeline

BEST = "#047857"
BASE = "#64748b"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

HEADROOM = 0.08
"""Space above the highest loss shown, as a share of the span."""


def importance_figure(facts: Importance) -> go.Figure:
    """Draw one bar for each parameter, the most important on top."""
    bars = tuple(reversed(facts.bars))
    figure = go.Figure(
        go.Bar(
            x=[bar.share for bar in bars],
            y=[bar.name for bar in bars],
            orientation="h",
            marker_color=LOOKS["complete"].color,
            text=[show_share(bar.share) for bar in bars],
            textposition="outside",
            cliponaxis=False,
            hovertext=[bar.words for bar in bars],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(title=f"share, over {counted(facts.trials, 'trial')}")
    figure.update_xaxes(tickformat=".0%", range=[0, 1.12 * max(bar.share for bar in facts.bars)])
    return _dressed(figure, height=110 + 44 * len(bars), legend=False)


def history_figure(facts: History) -> go.Figure:
    """Draw each trial's loss by number and state, and the best so far."""
    figure = go.Figure()
    top = _top([loss for _, loss in facts.best], [point.loss for point in facts.points], facts.base_loss)
    for state in LOOKS:
        # Trials that diverged before their first evaluation have no loss; they sit at the top edge.
        points = [
            point
            for point in facts.points
            if point.state == state and (point.loss is not None or state == "diverged")
        ]
        if not points:
            continue
        above = [point.loss is None or point.loss > top for point in points]
        figure.add_scatter(
            x=[point.trial for point in points],
            y=[
                top if high or point.loss is None else point.loss
                for high, point in zip(above, points, strict=True)
            ],
            mode="markers",
            name=state,
            marker={
                "color": LOOKS[state].color,
                "size": 7,
                "symbol": ["triangle-up-open" if high else "circle" for high in above],
            },
            hovertext=[f"trial {point.trial}: {state}, {show_loss(point.loss)}" for point in points],
            hoverinfo="text",
        )
    if facts.best:
        figure.add_scatter(
            x=[number for number, _ in facts.best],
            y=[loss for _, loss in facts.best],
            mode="lines",
            line={"shape": "hv", "color": BEST, "width": 2},
            name="best so far",
            hoverinfo="skip",
        )
    _base_line(figure, facts.base_loss, top)
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="eval loss (final, or the latest)")
    return _dressed(figure, height=400)


def curves_figure(facts: Curves) -> go.Figure:
    """Draw eval loss over training examples: pruned trials faded, the best in front."""
    figure = go.Figure()
    final = [line.losses[-1] for line in facts.lines if line.state == "complete"]
    top = _top(final, [loss for line in facts.lines for loss in line.losses], facts.base_loss)
    for state in DRAWN:
        lines = [line for line in facts.lines if line.state == state and not line.best]
        if lines:
            figure.add_trace(
                _curve_trace(lines, LOOKS[state].color, state, 0.35 if state == "pruned" else 0.75)
            )
    best = [line for line in facts.lines if line.best]
    if best:
        figure.add_trace(_curve_trace(best, BEST, f"best: trial {best[0].trial}", 1.0, width=3))
    _base_line(figure, facts.base_loss, top)
    figure.update_xaxes(title="training examples", rangemode="tozero")
    lowest = min((loss for line in facts.lines for loss in line.losses), default=0.0)
    lowest = min(lowest, facts.base_loss)
    figure.update_yaxes(
        title="eval loss", range=[lowest - 0.05 * (top - lowest), top + 0.02 * (top - lowest)]
    )
    return _dressed(figure, height=420)


def parallel_figure(facts: Parallel) -> go.Figure:
    """Draw each trial as a line across the parameters, darker where its loss is lower."""
    figure = go.Figure()
    complete = [line for line in facts.lines if line.state == "complete"]
    others = [line for line in facts.lines if line.state != "complete"]
    if others:
        figure.add_trace(_parallel_trace(others, "#cbd5e1", "not completed", 0.45, 1.0))
    # Thirds by loss rather than a color scale: a few traces, each with its place in the legend.
    third = (len(complete) + 2) // 3
    groups = (complete[2 * third :], complete[third : 2 * third], complete[:third])
    names = ("best third", "middle third", "worst third")
    shades = (BEST, "#60a5fa", "#fbbf24")
    if len(complete) < 3:
        groups, names = (complete, [], []), ("complete", "", "")
    for group, name, shade in reversed(list(zip(groups, names, shades, strict=True))):
        if group:
            figure.add_trace(_parallel_trace(group, shade, name, 0.9, 1.6))
    annotations = []
    for index, axis in enumerate(facts.axes):
        figure.add_shape(
            type="line", x0=index, x1=index, y0=0, y1=1, line={"color": "#475569", "width": 1}, layer="below"
        )
        for position, label in axis.ticks:
            inward = -1 if index == len(facts.axes) - 1 and index > 0 else 1
            annotations.append(
                {
                    "x": index,
                    "y": position,
                    "text": label,
                    "showarrow": False,
                    "xanchor": "right" if inward < 0 else "left",
                    "xshift": 5 * inward,
                    "font": {"size": 11, "color": "#334155"},
                    "bgcolor": "rgba(255,255,255,0.75)",
                }
            )
    last = len(facts.axes) - 1
    for index, axis in enumerate(facts.axes):
        # Names are broken at every underscore, so that they fit side by side on a narrow screen.
        name = axis.name.replace("_", "_<br>")
        annotations.append(
            {
                "x": index,
                "y": 1,
                "yshift": 12,
                "yanchor": "bottom",
                "text": f"<b>{name}</b>" + (" (log)" if axis.log else ""),
                "showarrow": False,
                "xanchor": "left" if index == 0 else "right" if index == last else "center",
                "align": "left" if index == 0 else "right" if index == last else "center",
                "font": {"size": 11},
            }
        )
    figure.update_layout(annotations=annotations)
    figure.update_xaxes(visible=False, range=[-0.1, max(1, last) + 0.1])
    figure.update_yaxes(visible=False, range=[-0.06, 1.26])
    return _dressed(figure, height=440, legend_below=True)


def timeline_figure(facts: Timeline) -> go.Figure:
    """Draw which trials trained when, one row for each lane of a worker."""
    figure = go.Figure()
    rows = {lane: index for index, lane in enumerate(facts.lanes)}
    names = [f"worker {worker}, slot {lane + 1}" for worker, lane in facts.lanes]
    for state in LOOKS:
        spans = [span for span in facts.spans if span.state == state]
        if spans:
            figure.add_bar(
                y=[names[rows[span.worker, span.lane]] for span in spans],
                base=[span.start for span in spans],
                x=[(span.end - span.start).total_seconds() * 1000 for span in spans],
                orientation="h",
                name=state,
                marker={"color": LOOKS[state].color, "line": {"color": "white", "width": 1}},
                text=[str(span.trial) for span in spans],
                textposition="inside",
                insidetextanchor="middle",
                hovertext=[
                    f"trial {span.trial}: {state}, {(span.end - span.start).total_seconds():.0f} s"
                    for span in spans
                ],
                hoverinfo="text",
            )
    # Numbers that would not fit their bar are left out rather than shrunk to dots.
    figure.update_layout(barmode="overlay", uniformtext={"mode": "hide", "minsize": 9})
    figure.update_xaxes(type="date", title="time (UTC)")
    figure.update_yaxes(categoryorder="array", categoryarray=list(reversed(names)))
    return _dressed(figure, height=130 + 26 * max(3, len(names)))


def _curve_trace(
    lines: Iterable[CurveLine], color: str, name: str, opacity: float, width: float = 1.5
) -> go.Scatter:
    parts = [
        (line.examples, line.losses, [f"trial {line.trial}: {show_loss(loss)}" for loss in line.losses])
        for line in lines
    ]
    return _one_trace(parts, color, name, opacity, width, marker=5)


def _parallel_trace(
    lines: Sequence[ParallelLine], color: str, name: str, opacity: float, width: float
) -> go.Scatter:
    parts = [
        (
            range(len(line.positions)),
            line.positions,
            [f"trial {line.trial}: {value}, loss {show_loss(line.loss)}" for value in line.values],
        )
        for line in lines
    ]
    return _one_trace(parts, color, name, opacity, width, marker=4)


def _one_trace(
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


def _top(final: Sequence[float], losses: Sequence[float | None], base_loss: float) -> float:
    """Return the highest loss to show: a few exploding trials must not flatten all the others."""
    known = [loss for loss in losses if loss is not None]
    ceiling = max([base_loss, *final])
    floor = min([base_loss, *known])
    span = max(ceiling - floor, 1e-3 * abs(ceiling), 1e-9)
    return ceiling + HEADROOM * span


def _base_line(figure: go.Figure, loss: float, top: float) -> None:
    figure.add_hline(
        y=loss,
        line={"color": BASE, "dash": "dash", "width": 1},
        annotation={"text": f"base model {show_loss(loss)}", "font": {"size": 11, "color": BASE}},
        annotation_position="bottom right" if loss > 0.5 * top else "top right",
    )


def _dressed(figure: go.Figure, *, height: int, legend: bool = True, legend_below: bool = False) -> go.Figure:
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
