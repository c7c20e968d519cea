"""Which hyperparameters set the best trials apart: a bar for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...study.format import counted, show_share
from ..importance import Importance, importance
from ..state_looks import LOOKS
from .kind import Kind
from .lettering import bar, wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go


def importance_figure(facts: Importance) -> go.Figure:
    """Draw one bar for each parameter, the most important on top."""
    import plotly.graph_objects as go

    from .drawing import dressed

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
    early = "early, " if facts.caution is not None else ""
    figure.update_xaxes(title=f"{early}share, over {counted(facts.trials, 'trial')}")
    figure.update_xaxes(tickformat=".0%", range=[0, 1.12 * max(bar.share for bar in facts.bars)])
    return dressed(figure, height=110 + 44 * len(bars), legend=False)


def importance_text(facts: Importance, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
    names = max(len(item.name) for item in facts.bars)
    room = width - names - 8
    top = max(item.share for item in facts.bars)
    lines = [
        f"{item.name:<{names}} {show_share(item.share):>6} {bar(item.share / top, room)}"
        for item in facts.bars
    ]
    lines.append("")
    for item in facts.bars:
        lines += wrapped(f"{item.name}: {item.words}", width)
    if facts.caution is not None:
        lines += ["", *wrapped(f"Early: {facts.caution}", width)]
    return [*lines, "", *wrapped(f"Based on {facts.basis}.", width)]


KIND = Kind(
    words="Which hyperparameters set the best trials apart",
    facts=importance,
    figure=importance_figure,
    text=importance_text,
)
"""As ``tune plot importance`` shows it."""
