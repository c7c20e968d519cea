"""Eval loss over training examples: a line for each trial."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...study.format import show_loss
from ..state_looks import DRAWN, LOOKS
from ..view import StudyView
from .kind import Kind, some
from .lettering import MOST, spark, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurveLine:
    """One trial's eval loss over training examples."""

    trial: int
    """Its number."""
    state: str
    """Where it stands."""
    best: bool
    """Whether it is the best trial."""
    examples: tuple[int, ...]
    """Training examples at each evaluation."""
    losses: tuple[float, ...]
    """Eval loss there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curves:
    """The eval losses of all trials that were evaluated."""

    lines: tuple[CurveLine, ...]
    """By number."""
    base_loss: float
    """The base model's loss."""


def curves(view: StudyView) -> Curves:
    """Return every trial's eval loss over training examples."""
    best = view.best()
    lines = []
    for trial in view.trials:
        evaluated = [
            (point.examples, point.eval_loss)
            for point in view.points(trial.number)
            if point.eval_loss is not None
        ]
        if evaluated:
            lines.append(
                CurveLine(
                    trial=trial.number,
                    state=view.state_of(trial),
                    best=best is not None and trial.number == best.number,
                    examples=tuple(examples for examples, _ in evaluated),
                    losses=tuple(loss for _, loss in evaluated),
                )
            )
    return Curves(lines=tuple(lines), base_loss=view.base_loss)


def curves_figure(facts: Curves) -> go.Figure:
    """Draw eval loss over training examples: pruned trials faded, the best in front."""
    import plotly.graph_objects as go

    from .drawing import BEST, base_line, dressed, top_of

    figure = go.Figure()
    final = [line.losses[-1] for line in facts.lines if line.state == "complete"]
    top = top_of(final, [loss for line in facts.lines for loss in line.losses], facts.base_loss)
    for state in DRAWN:
        lines = [line for line in facts.lines if line.state == state and not line.best]
        if lines:
            figure.add_trace(
                _curve_trace(lines, LOOKS[state].color, state, 0.35 if state == "pruned" else 0.75)
            )
    best = [line for line in facts.lines if line.best]
    if best:
        figure.add_trace(_curve_trace(best, BEST, f"best: trial {best[0].trial}", 1.0, width=3))
    base_line(figure, facts.base_loss, top)
    figure.update_xaxes(title="training examples", rangemode="tozero")
    lowest = min((loss for line in facts.lines for loss in line.losses), default=0.0)
    lowest = min(lowest, facts.base_loss)
    figure.update_yaxes(
        title="eval loss", range=[lowest - 0.05 * (top - lowest), top + 0.02 * (top - lowest)]
    )
    return dressed(figure, height=420)


def _curve_trace(
    lines: Iterable[CurveLine], color: str, name: str, opacity: float, width: float = 1.5
) -> go.Scatter:
    from .drawing import one_trace

    parts = [
        (line.examples, line.losses, [f"trial {line.trial}: {show_loss(loss)}" for loss in line.losses])
        for line in lines
    ]
    return one_trace(parts, color, name, opacity, width, marker=5)


def curves_text(facts: Curves, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
    steps = sorted({examples for line in facts.lines for examples in line.examples})
    fitting = max(1, (width - 26) // 9)
    steps = steps[-fitting:]
    shown = sorted(facts.lines, key=lambda line: (-len(line.losses), line.losses[-1]))
    rows = ["trial  state      " + "".join(f"{step:>9}" for step in steps) + "  trend"]
    for line in shown[:MOST]:
        at = dict(zip(line.examples, line.losses, strict=True))
        cells = "".join(f"{show_loss(at[step]) if step in at else '':>9}" for step in steps)
        rows.append(f"{line.trial:>5}  {line.state:<11}{cells}  {spark(line.losses)}")
    if len(shown) > MOST:
        rows.append(f"… and {len(shown) - MOST} more")
    legend = f"eval loss after so many training examples; base model {show_loss(facts.base_loss)}"
    return [*rows, "", *wrapped(legend, width)]


KIND = Kind(
    words="Eval loss over training examples",
    facts=some(curves, "lines", "no trial was evaluated yet"),
    figure=curves_figure,
    text=curves_text,
)
"""As ``tune plot curves`` shows it."""
