"""The plots as plain text for a terminal, never wider than it.

Knows nothing of colors or of how a terminal is found; the command prints what it gets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...study.format import show_loss, show_seconds, show_share
from ..importance import Importance
from ..state_looks import DRAWN, LOOKS
from ..view import StudyView
from .data import Curves, History, Parallel, Timeline
from .kinds import plot_facts

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"
ROWS = 12
"""Height of a drawn field."""
MOST = 20
"""Rows of a listing, the best first."""


def plot_text(view: StudyView, kind: str, width: int = 80) -> str:
    """Return a plot as lines of text; raises what ``plot_facts`` raises."""
    facts = plot_facts(view, kind)
    lines = RENDER[kind](facts, max(40, width))
    return "\n".join(line.rstrip() for line in lines)


def bar(share: float, width: int) -> str:
    """Return a bar of ``share`` (0 to 1) of ``width`` cells, in eighths of a cell.

    >>> bar(0.5, 4)
    '██'
    """
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _importance(facts: Importance, width: int) -> list[str]:
    names = max(len(item.name) for item in facts.bars)
    room = width - names - 8
    top = max(item.share for item in facts.bars)
    lines = [
        f"{item.name:<{names}} {show_share(item.share):>6} {bar(item.share / top, room)}"
        for item in facts.bars
    ]
    lines.append("")
    for item in facts.bars:
        lines += _wrapped(f"{item.name}: {item.words}", width)
    return [*lines, "", *_wrapped(f"Based on {facts.basis}.", width)]


def _history(facts: History, width: int) -> list[str]:
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
    return [*lines, *_wrapped("  ".join(legend), width), summary]


def _curves(facts: Curves, width: int) -> list[str]:
    steps = sorted({examples for line in facts.lines for examples in line.examples})
    fitting = max(1, (width - 26) // 9)
    steps = steps[-fitting:]
    shown = sorted(facts.lines, key=lambda line: (-len(line.losses), line.losses[-1]))
    rows = ["trial  state      " + "".join(f"{step:>9}" for step in steps) + "  trend"]
    for line in shown[:MOST]:
        at = dict(zip(line.examples, line.losses, strict=True))
        cells = "".join(f"{show_loss(at[step]) if step in at else '':>9}" for step in steps)
        rows.append(f"{line.trial:>5}  {line.state:<11}{cells}  {_spark(line.losses)}")
    if len(shown) > MOST:
        rows.append(f"… and {len(shown) - MOST} more")
    legend = f"eval loss after so many training examples; base model {show_loss(facts.base_loss)}"
    return [*rows, "", *_wrapped(legend, width)]


def _parallel(facts: Parallel, width: int) -> list[str]:
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
            lines += _wrapped(f"trial {line.trial}: {show_loss(line.loss)} {line.state}", width)
            for axis, value in zip(facts.axes, line.values, strict=True):
                lines.append(f"  {axis.name} {value}"[:width])
    if len(facts.lines) > MOST:
        lines.append(f"… and {len(facts.lines) - MOST} more")
    return lines


def _timeline(facts: Timeline, width: int) -> list[str]:
    start = min(span.start for span in facts.spans)
    seconds = max(1e-9, (max(span.end for span in facts.spans) - start).total_seconds())
    heads = {lane: f"worker {lane[0]} slot {lane[1] + 1}" for lane in facts.lanes}
    label = max(len(head) for head in heads.values())
    columns = width - label - 3
    lines = []
    for lane, head in heads.items():
        cells = [" "] * columns
        spans = [span for span in facts.spans if (span.worker, span.lane) == lane]
        lefts = [int((span.start - start).total_seconds() / seconds * (columns - 1)) for span in spans]
        for span, left, following in zip(spans, lefts, [*lefts[1:], columns], strict=True):
            right = int((span.end - start).total_seconds() / seconds * (columns - 1))
            length = max(1, min(right, following - 1) - left + 1)
            text = f"{LOOKS[span.state].mark}{span.trial}"
            # Half a number would be that of another trial.
            text = text if len(text) <= length else LOOKS[span.state].mark
            end = "▕" if length > len(text) else ""
            cells[left : left + length] = f"{text}{'─' * (length - len(text) - len(end))}{end}"
        lines.append(f"{head:<{label}} │{''.join(cells)}")
    used = {span.state for span in facts.spans}
    legend = "  ".join(f"{LOOKS[state].mark} {state}" for state in LOOKS if state in used)
    words = f"{show_seconds(seconds)} in all, numbers are trials, where there is room;  {legend}"
    return [*lines, "", *_wrapped(words, width)]


def _spark(losses: tuple[float, ...]) -> str:
    low, high = min(losses), max(losses)
    if high <= low:
        return LEVELS[0] * len(losses)
    return "".join(LEVELS[round((loss - low) / (high - low) * 7)] for loss in losses)


def _wrapped(text: str, width: int) -> list[str]:
    """Break text at spaces; a word longer than the width is cut rather than let over it."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if len(joined) <= width or not lines[-1]:
            lines[-1] = joined[:width]
        else:
            lines.append(word[:width])
    return lines


RENDER: dict[str, Callable[[Any, int], list[str]]] = {
    "importance": _importance,
    "history": _history,
    "curves": _curves,
    "parallel": _parallel,
    "timeline": _timeline,
}
