"""What a person sees in the terminal: the live table of a search, plain lines elsewhere, tables.

Draws values that others made; reads no database and decides nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import click
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ..reports.state_looks import LOOKS
from ..spaces.params import LoraParams
from ..study.format import join, show_value
from .encoding import safe_json, visible
from .table_columns import fitting


class ReaderGone(Exception):  # noqa: N818
    """Whoever read what was asked for has gone, as ``| head`` does: there is nobody left to print for."""


class _Careful(Console):
    """Lets no control character through that came with a name, a path or a record."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))


class _Answers(_Careful):
    def on_broken_pipe(self) -> None:
        self.forget()
        raise ReaderGone

    def forget(self) -> None:
        """Print no more, and let what is left unprinted raise no more."""
        self.quiet = True
        _drop(sys.stdout)


class _Progress(_Careful):
    """A search goes on, whether someone looks on or not, and whether what it says can be written or not."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _drop(sys.stderr)


def _drop(stream: TextIO) -> None:
    """Let a stream that nobody reads lead nowhere, so that what is left in it raises no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


OUT = _Answers(highlight=False)
"""What was asked for."""

ERR = _Progress(stderr=True, highlight=False)
"""Progress, and what went wrong."""

ENDLESS = 1000
"""Characters in a line that no terminal shows."""


def show_params(params: LoraParams, names: Iterable[str] | None = None) -> str:
    """Return hyperparameters in one line: ``learning_rate 0.01, batch_size 8 …``."""
    values = params.to_dict()
    chosen = values if names is None else names
    return ", ".join(f"{name} {show_value(values[name])}" for name in chosen)


def room(out: Console) -> int:
    """Return how wide a table may be: as a terminal, or as ``COLUMNS`` says; endless in a pipe."""
    return out.width if out.is_terminal or "COLUMNS" in os.environ else ENDLESS


def show_table(out: Console, made: Table) -> None:
    """Print a table of at most ``room`` characters."""
    before, out.width = out.width, room(out)
    try:
        out.print(made)
    finally:
        out.width = before


def emit(text: str) -> None:
    """Print a text as it is, for a program or a file; raises ``ReaderGone``."""
    try:
        click.echo(text, nl=not text.endswith("\n"))
    except BrokenPipeError:
        OUT.on_broken_pipe()


def emit_json(value: Any) -> None:
    """Print a value as JSON."""
    emit(safe_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))


def say_wrote(path: Path, *, replaced: bool) -> None:
    """Say that a file or a folder is there now."""
    ERR.print(Text(f"{'replaced' if replaced else 'wrote'} {path}"), soft_wrap=True)


def say(out: Console, text: Text | str, *, indent: int = 0) -> None:
    """Print a sentence: broken between words on a terminal, in one line for whoever reads it from a pipe."""
    words = Text(text) if isinstance(text, str) else text
    if out.is_terminal:
        out.print(Padding(words, (0, 0, 0, indent), expand=False))
    else:
        out.print(Text(" " * indent) + words, soft_wrap=True)


def say_pairs(out: Console, pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and what there is to say of each, the latter below one another; broken as by ``say``."""
    width = max(len(name) for name, _ in pairs)
    for name, words in pairs:
        if out.is_terminal:
            row = Table.grid(padding=(0, 2, 0, 0))
            row.add_column(width=width)
            row.add_column(overflow="fold")  # the end of a path is what tells it from others
            row.add_row(Text(name, style="bold"), Text(words))
            out.print(row)
        else:
            out.print(Text(f"{name:<{width}}  {words}"), soft_wrap=True)


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    width: int,
    right: Iterable[str] = (),
    folding: Iterable[str] = (),
    lesser: Mapping[str, int] | None = None,
) -> Table:
    """Return a plain table that fits a terminal: no number in it is cut and no word broken.

    Columns that it has no room for are named below it.

    Args:
        header: names of the columns.
        rows: their cells.
        width: the terminal's, in characters.
        right: the columns whose cells stand to the right.
        folding: the columns that may be broken between words where the terminal is narrow.
        lesser: how little a column matters, from 1; the greatest go first where not all fit.
    """
    lines = [[cell if isinstance(cell, Text) else Text(str(cell)) for cell in row] for row in rows]
    columns_of = [[Text(name), *(line[index] for line in lines)] for index, name in enumerate(header)]
    whole = [max(text.cell_len for text in column) for column in columns_of]
    least = [
        max(cell_len(word) for text in column for word in [*text.plain.split(), ""])
        if name in set(folding)
        else whole[index]
        for index, (name, column) in enumerate(zip(header, columns_of, strict=True))
    ]
    # What matters little goes before anything is folded.
    kept, gap = fitting(whole, [(lesser or {}).get(name, 0) for name in header], width)
    room = width - sum(least[index] for index in kept) - gap * (len(kept) - 1)
    if room < 0:
        return _pairs(header, lines)
    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    to_the_right = set(right)
    for index in kept:
        more = min(whole[index] - least[index], max(0, room))
        room -= more
        justify: Literal["left", "right"] = "right" if header[index] in to_the_right else "left"
        made.add_column(header[index], justify=justify, overflow="fold", width=least[index] + more)
    for line in lines:
        made.add_row(*(line[index] for index in kept))
    left_out = [name for index, name in enumerate(header) if index not in kept]
    if left_out:
        made.caption = Text(f"no room for {join(left_out)}: widen the terminal", style="dim")
        made.caption_justify = "left"
    return made


def _pairs(header: Sequence[str], lines: Sequence[Sequence[Text]]) -> Table:
    """Return rows as a name and its cell a line, for a terminal that is too narrow for columns."""
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    made.add_column(no_wrap=True, style="bold")
    made.add_column(overflow="fold")
    for number, line in enumerate(lines):
        if number:
            made.add_row("", "")
        for name, cell in zip(header, line, strict=True):
            made.add_row(name, cell)
    return made


def state_text(state: str) -> Text:
    """Return a trial's state in its color."""
    return Text(state, style=LOOKS[state].style)
