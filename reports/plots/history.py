"""Every trial's loss, and the best so far."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from ...study.format import show_loss
from ...study.ranking import rank
from ..state_looks import DRAWN, LOOKS
from ..view import StudyView
from .kind import Kind, some
from .lettering import ROWS, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistoryPoint:
    """One trial in the order of numbers."""

    trial: int
    """Its number."""
    state: str
    """Where it stands."""
    loss: float | None
    """Final loss, or the latest where it has none; None before the first evaluation."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """Every trial's loss, and the best so far."""

    points: tuple[HistoryPoint, ...]
    """By number."""
    best: tuple[tuple[int, float], ...]
    """(number, final loss of the best up to it), one for each trial from the first complete one on."""
    base_loss: float
    """The base model's loss."""


def history(view: StudyView) -> History:
    """Return every trial's loss and the best so far."""
    points = tuple(
        HistoryPoint(
            trial=trial.number,
            state=view.state_of(trial),
            loss=trial.value if trial.value is not None else view.last_eval(trial.number),
        )
        for trial in view.trials
    )
    best: list[tuple[int, float]] = []
    least, loss = (math.inf, math.inf, 0), math.inf
    for trial in view.trials:
        if trial.value is not None:
            place = rank(trial.score, trial.value, trial.number)
            least, loss = min((least, loss), (place, trial.value))
        if math.isfinite(loss):
            best.append((trial.number, loss))
    return History(points=points, best=tuple(best), base_loss=view.base_loss)


def history_figure(facts: History) -> go.Figure:
    """Draw each trial's loss by number and state, and the best so far."""
    import plotly.graph_objects as go

    from .drawing import BEST, base_line, dressed, top_of

    figure = go.Figure()
    top = top_of([loss for _, loss in facts.best], [point.loss for point in facts.points], facts.base_loss)
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
    base_line(figure, facts.base_loss, top)
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title="eval loss (final, or the latest)")
    return dressed(figure, height=400)


def history_text(facts: History, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
    losses = [(point.trial, point.loss, point.state) for point in facts.points if point.loss is not None]
    ceiling = max([facts.base_loss, *(loss for _, loss in facts.best)])
    low = min([facts.base_loss, *(loss for _, loss, _ in losses)])
    high = ceiling + 0.02 * (ceiling - low) or 1.0
    columns = width - 11
    last = max(point.trial for point in facts.points)

    def place(trial: int, loss: float) -> tuple[int, int]:
        column = round(trial / last * (columns - 1)) if last else 0
        share = (min(loss, high) - low) / (high - low) if high > low else 0.0
        return round((1 - share) * (ROWS - 1)), column

    field = [[" "] * columns for _ in range(ROWS)]
    for trial, best in facts.best:
        row, column = place(trial, best)
        field[row][column] = "─"
    # The most telling mark of a cell is drawn last.
    for trial, loss, state in sorted(losses, key=lambda item: DRAWN.index(item[2])):
        row, column = place(trial, loss)
        field[row][column] = LOOKS[state].mark
    for point in facts.points:
        if point.loss is None and point.state == "diverged":
            row, column = place(point.trial, high)
            field[row][column] = LOOKS["diverged"].mark
    labels = {0: show_loss(high), ROWS - 1: show_loss(low)}
    lines = [f"{labels.get(row, ''):>9} │{''.join(cells)}" for row, cells in enumerate(field)]
    lines.append(" " * 10 + "└" + "─" * columns)
    lines.append(" " * 11 + f"trial 0{last:>{max(1, columns - 7)}}")
    used = {point.state for point in facts.points}
    legend = [f"{LOOKS[state].mark} {state}" for state in LOOKS if state in used]
    summary = f"base model {show_loss(facts.base_loss)}"
    if facts.best:
        legend.append("─ best so far")
        summary += f", best {show_loss(facts.best[-1][1])}"
    return [*lines, *wrapped("  ".join(legend), width), summary]


KIND = Kind(
    words="Every trial's loss, and the best so far",
    facts=some(history, "points", "no trial has started yet"),
    figure=history_figure,
    text=history_text,
)
"""As ``tune plot history`` shows it."""
