"""Columns of the live table: the study's own parameters among them, and which of them fit a terminal.

Knows only how far a search is; draws nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.text import Text

from ..spaces.params import HYPERPARAMETERS, LoraParams
from ..study.events import StudyProgress, TrialProgress
from ..study.format import show_count, show_loss, show_value

SHORT = {name: one.heading for name, one in HYPERPARAMETERS.items()}
"""Column heads, where a whole name would be wider than what stands below it."""

GAPS = (2, 1)
"""Spaces between two columns, the narrower where they would not fit otherwise."""

ORNAMENT = 5
"""How a column is ranked that only fills room: no gap is narrowed for it."""

WORD_WIDTH = 14
"""Widest that a word is shown, a schedule's name or a list of modules: cut there, they still differ."""

LEADING = tuple(name for name, one in HYPERPARAMETERS.items() if one.leading)
"""Parameters that are shown before others."""

_BAR_WIDTH = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the live table."""

    name: str
    """Its head."""
    cell: Callable[[TrialProgress], str | Text | ProgressBar]
    """What it says of a trial."""
    width: int = 0
    """Least, in characters: what its cells usually take, so that columns neither move nor come and go."""
    lesser: int = 0
    """0 stays in every terminal; of the others, 1 to ``ORNAMENT``, the greatest go where they do not fit."""
    justify: Literal["left", "right"] = "right"
    """Where its cells stand."""


def fitting(widths: Sequence[int], lesser: Sequence[int], width: int) -> tuple[tuple[int, ...], int]:
    """Return which of these columns fit a terminal of that width, and the gap between two of them.

    ``lesser`` is as in ``Column``: 0 stays whatever the width.
    """

    def total(some: Sequence[int], gap: int) -> int:
        return sum(widths[index] for index in some) + gap * (len(some) - 1)

    needed = [index for index in range(len(widths)) if lesser[index] < ORNAMENT]
    gap = next((gap for gap in GAPS if total(needed, gap) <= width), GAPS[-1])
    kept: list[int] = []
    for index in sorted(range(len(widths)), key=lambda index: lesser[index]):
        if lesser[index] == 0 or total([*kept, index], gap) <= width:
            kept.append(index)
    return tuple(sorted(kept)), gap


def columns(progress: StudyProgress, width: int) -> tuple[tuple[Column, ...], int]:
    """Return the columns that fit a terminal of that width, and the gap between two of them."""
    found = _columns(progress.varied)
    widths = [_taken(column, progress.running) for column in found]
    kept, gap = fitting(widths, [column.lesser for column in found], width)
    return tuple(found[index] for index in kept), gap


def _columns(varied: Sequence[str]) -> tuple[Column, ...]:
    """Return all columns of a search over these parameters."""
    return (
        Column(name="trial", cell=lambda slot: str(slot.trial)),
        *(_parameter(name) for name in varied),
        Column(name="examples", cell=_examples),
        Column(
            name="",
            cell=lambda slot: ProgressBar(
                total=slot.examples_total, completed=slot.examples, width=_BAR_WIDTH
            ),
            width=_BAR_WIDTH,
            lesser=ORNAMENT,
            justify="left",
        ),
        Column(name="train", cell=lambda slot: show_loss(slot.train_loss), width=6),
        Column(name="eval", cell=lambda slot: show_loss(slot.eval_loss), width=6),
        Column(name="lr now", cell=lambda slot: _shown(slot.learning_rate, ".1e"), width=7, lesser=3),
        Column(name="grad", cell=lambda slot: _shown(slot.grad_norm, ".3g"), width=5, lesser=2),
        Column(
            name="state",
            cell=lambda slot: Text(slot.state, style="cyan" if slot.state in ("train", "eval") else "dim"),
            width=8,
            justify="left",
        ),
    )


def _parameter(name: str) -> Column:
    return Column(
        name=SHORT[name],
        cell=lambda slot: _value(slot.params, name),
        width=HYPERPARAMETERS[name].width,
        lesser=1 if name in LEADING else 4,
    )


def _value(params: LoraParams, name: str) -> str:
    value = getattr(params, name)
    if isinstance(value, str):
        return value if len(value) <= WORD_WIDTH else value[: WORD_WIDTH - 1] + "…"
    if isinstance(value, int):
        return show_value(value)
    return format(value, HYPERPARAMETERS[name].form)


def _examples(slot: TrialProgress) -> str:
    total = show_count(slot.examples_total)
    return f"{show_count(slot.examples):>{len(total)}}/{total}"


def _shown(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _taken(column: Column, slots: Sequence[TrialProgress]) -> int:
    """Return how wide a column is with these trials in it."""
    cells = [column.cell(slot) for slot in slots]
    texts = [str(cell) for cell in cells if not isinstance(cell, ProgressBar)]
    return max(column.width, cell_len(column.name), *(cell_len(text) for text in texts))
