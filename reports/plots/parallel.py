"""Every ended trial across the hyperparameters that vary."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...spaces.dimension import Dimension
from ...spaces.params import value_of
from ...spaces.range import Range
from ...study.format import show_loss, show_value
from ..view import StudyView
from .kind import Kind, some
from .lettering import MOST, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter of the parallel coordinates."""

    name: str
    """The parameter."""
    log: bool
    """Whether positions are logarithmic."""
    ticks: tuple[tuple[float, str], ...]
    """(position 0 to 1, label), ascending."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelLine:
    """One trial across the axes."""

    trial: int
    """Its number."""
    state: str
    """Where it stands."""
    loss: float | None
    """Final or latest loss."""
    positions: tuple[float, ...]
    """0 to 1 on each axis."""
    values: tuple[str, ...]
    """The values as text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parallel:
    """All ended trials across the parameters that vary."""

    axes: tuple[Axis, ...]
    """In the space's order."""
    lines: tuple[ParallelLine, ...]
    """The worst first, so that the best are drawn on top."""


def parallel(view: StudyView) -> Parallel:
    """Return every ended trial across the parameters that vary."""
    dimensions = [dimension for dimension in view.space.dimensions if not dimension.fixed]
    lines = []
    for trial in view.trials:
        if trial.state == "running":
            continue
        values = [value_of(trial.params, dimension.name) for dimension in dimensions]
        lines.append(
            ParallelLine(
                trial=trial.number,
                state=view.state_of(trial),
                loss=trial.value if trial.value is not None else view.last_eval(trial.number),
                positions=tuple(
                    _position(dimension, value) for dimension, value in zip(dimensions, values, strict=True)
                ),
                values=tuple(show_value(value) for value in values),
            )
        )
    lines.sort(key=lambda line: (line.state == "complete", -(line.loss or math.inf), -line.trial))
    axes = tuple(
        Axis(name=dimension.name, log=isinstance(dimension, Range) and dimension.log, ticks=_ticks(dimension))
        for dimension in dimensions
    )
    return Parallel(axes=axes, lines=tuple(lines))


def _position(dimension: Dimension, value: float | str) -> float:
    """Return where a value lies on its axis: lists evenly by index, ranges by their own scale."""
    if isinstance(dimension, Range):
        return dimension.place(value)
    suggestion = dimension.suggestion_of(value)
    place = int(suggestion) if dimension.kind.ordered else dimension.values.index(suggestion)
    return place / max(1, len(dimension.values) - 1)


def _ticks(dimension: Dimension) -> tuple[tuple[float, str], ...]:
    """Return the labelled places of an axis: every choice, or the ends and what lies between."""
    if not isinstance(dimension, Range):
        return tuple((_position(dimension, choice), show_value(choice)) for choice in dimension.values)
    low, high = dimension.bounds
    if dimension.log:
        powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
        between = [10.0**power for power in powers]
    else:
        between = [low + (high - low) * part / 4 for part in (1, 2, 3)]
    inside = [(_position(dimension, value), show_value(value)) for value in between]
    # A label too near to an end would be drawn over it.
    kept = [tick for tick in inside if 0.06 < tick[0] < 0.94]
    return ((0.0, show_value(low)), *kept, (1.0, show_value(high)))


def parallel_figure(facts: Parallel) -> go.Figure:
    """Draw each trial as a line across the parameters, darker where its loss is lower."""
    import plotly.graph_objects as go

    from .drawing import BEST, dressed

    figure = go.Figure()
    complete = [line for line in facts.lines if line.state == "complete"]
    others = [line for line in facts.lines if line.state != "complete"]
    if others:
        figure.add_trace(_parallel_trace(others, "#cbd5e1", "not completed", 0.45, 1.0))
    # Thirds by loss rather than a color scale: a few traces, each with its place in the legend.
    third, two_thirds = round(len(complete) / 3), round(2 * len(complete) / 3)
    groups = (complete[two_thirds:], complete[third:two_thirds], complete[:third])
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
    return dressed(figure, height=440, legend_below=True)


def _parallel_trace(
    lines: Sequence[ParallelLine], color: str, name: str, opacity: float, width: float
) -> go.Scatter:
    from .drawing import one_trace

    parts = [
        (
            range(len(line.positions)),
            line.positions,
            [f"trial {line.trial}: {value}, loss {show_loss(line.loss)}" for value in line.values],
        )
        for line in lines
    ]
    return one_trace(parts, color, name, opacity, width, marker=4)


def parallel_text(facts: Parallel, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
    if not facts.axes:
        return ["No hyperparameter varies in this study."]
    best = list(reversed(facts.lines))[:MOST]
    # Two lines of headings: lora_alpha_ratio alone is as wide as three columns of values.
    heads = [("", "trial"), ("", "loss"), ("", "state")]
    heads += [(head, tail) for head, _, tail in (axis.name.rpartition("_") for axis in facts.axes)]
    rows = [[head for head, _ in heads], [tail for _, tail in heads]]
    rows += [[str(line.trial), show_loss(line.loss), line.state, *line.values] for line in best]
    widths = [max(len(row[index]) for row in rows) for index in range(len(heads))]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        lines = ["  ".join(f"{cell:>{size}}" for cell, size in zip(row, widths, strict=True)) for row in rows]
    else:
        lines = []
        for line in best:
            lines += wrapped(f"trial {line.trial}: {show_loss(line.loss)} {line.state}", width)
            for axis, value in zip(facts.axes, line.values, strict=True):
                lines.append(f"  {axis.name} {value}"[:width])
    if len(facts.lines) > MOST:
        lines.append(f"… and {len(facts.lines) - MOST} more")
    return lines


KIND = Kind(
    words="Every trial across the hyperparameters",
    facts=some(parallel, "lines", "no trial has ended yet"),
    figure=parallel_figure,
    text=parallel_text,
)
"""As ``tune plot parallel`` shows it."""
