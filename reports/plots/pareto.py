"""Final loss against what a trial costs: its adapter's weights, and the seconds that its rounds took.

A trial is on the front of a cost where no other is at least as good in both and better in one.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...study.format import show_count, show_loss, show_seconds
from ..view import StudyView
from .kind import Kind, some
from .lettering import MOST, wrapped

TOGETHER = "those who were trained together have their whole pack's"

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """A complete trial."""

    trial: int
    """Its number."""
    loss: float
    """Its final loss."""
    weights: int | None
    """Weights of its adapter; None where a study of before does not say."""
    seconds: float
    """Seconds that its rounds took, of the whole pack where others were trained with it: nobody measures what
    each of them has of that."""
    front_of_weights: bool
    """Whether no other trial has less loss for as few weights."""
    front_of_seconds: bool
    """Whether no other trial has less loss in as little time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pareto:
    """Every complete trial's loss and costs."""

    points: tuple[ParetoPoint, ...]
    """By loss, the least first."""
    together: bool
    """Whether any of them was trained together with another trial, so that both have the same seconds."""


def front(pairs: Sequence[tuple[float, float]]) -> tuple[bool, ...]:
    """Return of each pair, less of either being better, whether none is better than it.

    >>> front([(1.0, 5), (2.0, 3), (2.5, 3), (3.0, 4)])
    (True, True, False, False)
    """
    least, last = math.inf, (math.nan, math.nan)
    found = [False] * len(pairs)
    for index in sorted(range(len(pairs)), key=lambda one: pairs[one]):
        # Of equals in both, all are on it.
        if pairs[index][1] < least or pairs[index] == last:
            found[index] = True
            least, last = pairs[index][1], pairs[index]
    return tuple(found)


def pareto(view: StudyView) -> Pareto:
    """Return every complete trial's loss and costs."""
    complete = sorted((trial.value, trial.number, trial) for trial in view.trials if trial.value is not None)
    weights = [view.model.trainable(trial.params) for *_, trial in complete]
    seconds = [
        sum((point.finished_at - point.started_at).total_seconds() for point in view.points(number))
        for _, number, _ in complete
    ]
    passes = Counter((point.worker, point.started_at) for point in view.curve)
    losses = [loss for loss, *_ in complete]
    quick = front(list(zip(losses, seconds, strict=True)))
    known = [count for count in weights if count is not None]
    # All trials of a study are told of, or none.
    cheap = (
        front(list(zip(losses, known, strict=True))) if len(known) == len(losses) else (False,) * len(losses)
    )
    return Pareto(
        together=any(
            passes[point.worker, point.started_at] > 1
            for _, number, _ in complete
            for point in view.points(number)
        ),
        points=tuple(
            ParetoPoint(
                trial=number,
                loss=loss,
                weights=weights[place],
                seconds=seconds[place],
                front_of_weights=cheap[place],
                front_of_seconds=quick[place],
            )
            for place, (loss, number, _) in enumerate(complete)
        ),
    )


def pareto_figure(facts: Pareto) -> go.Figure:
    """Draw the loss over each cost, the front of each as a line."""
    from plotly.subplots import make_subplots

    from ..state_looks import LOOKS
    from .drawing import BEST, dressed

    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, (cost, mark) in enumerate(
        (("weights", "front_of_weights"), ("seconds", "front_of_seconds")), 1
    ):
        on = sorted(
            (point for point in facts.points if getattr(point, mark)), key=lambda point: getattr(point, cost)
        )
        known = [point for point in facts.points if getattr(point, cost) is not None]
        off = [point for point in known if not getattr(point, mark)]
        for points, name, color, mode in (
            (off, "complete", LOOKS["complete"].color, "markers"),
            (on, "none is better in both", BEST, "lines+markers"),
        ):
            figure.add_scatter(
                x=[getattr(point, cost) for point in points],
                y=[point.loss for point in points],
                mode=mode,
                name=name,
                showlegend=column == 1,
                legendgroup=name,
                line={"shape": "hv", "color": color, "width": 2},
                marker={"color": color, "size": 8},
                hovertext=[_words(point) for point in points],
                hoverinfo="text",
                row=1,
                col=column,
            )
    figure.update_xaxes(title="weights of the adapter", rangemode="tozero", col=1)
    figure.update_xaxes(
        title=f"seconds of its rounds<br>({TOGETHER})" if facts.together else "seconds of its rounds",
        rangemode="tozero",
        col=2,
    )
    figure.update_yaxes(title="final eval loss", col=1)
    return dressed(figure, height=400)


def pareto_text(facts: Pareto, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
    fronts = [point for point in facts.points if point.front_of_weights or point.front_of_seconds]
    rows = ["trial      loss      weights       time  on the front of"]
    for point in fronts[:MOST]:
        of = [
            name for name, on in (("weights", point.front_of_weights), ("time", point.front_of_seconds)) if on
        ]
        rows.append(
            f"{point.trial:>5}  {show_loss(point.loss):>8}  {_weights(point):>11}  "
            f"{show_seconds(point.seconds):>9}  {' and '.join(of)}"
        )
    if len(fronts) > MOST:
        rows.append(f"… and {len(fronts) - MOST} more")
    others = len(facts.points) - len(fronts)
    legend = f"For each of the {others} other complete trials one of these is no worse in loss and in cost."
    said = [f"Time: {TOGETHER}."] if facts.together else []
    said += [legend] if others else []
    return [row[:width] for row in rows] + (["", *wrapped(" ".join(said), width)] if said else [])


def _weights(point: ParetoPoint) -> str:
    return "–" if point.weights is None else show_count(point.weights)


def _words(point: ParetoPoint) -> str:
    costs = f"{_weights(point)} weights, {show_seconds(point.seconds)}"
    return f"trial {point.trial}: {show_loss(point.loss)}, {costs}"


KIND = Kind(
    words="Final loss against an adapter's weights, and against seconds",
    facts=some(pareto, "points", "no trial is complete yet"),
    figure=pareto_figure,
    text=pareto_text,
)
"""As ``tune plot pareto`` shows it."""
