"""The live table of a search, redrawn in place in a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..reports.state_looks import LOOKS
from ..study.events import Event, StudyProgress, TrialEnded
from ..study.format import show_count, show_loss
from ..study.sentences import sentence
from .console import show_params
from .standing import finished_of, rates, shown_best, waiting_line
from .table_columns import columns

EXPECTED = ("complete", "pruned", "diverged")
"""Ends of trials that are of no note: the counts have them."""

LINES = 4
"""How many of the last sentences stand below the table."""


class LiveView:
    """The live table of the slots, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress: StudyProgress | None = None
        self._last: deque[str] = deque(maxlen=LINES)
        self._kept: list[str] = []
        self._live = Live(
            console=console, get_renderable=self.drawn, refresh_per_second=4, transient=True, screen=False
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        for text in self._kept:
            self._console.print(Text(text), soft_wrap=True)
        if self._progress is not None:
            # The slots are of no use once the search is over; how it stood at the end is.
            self._console.print(_head(self._progress))

    def on_event(self, event: Event) -> None:
        """Show where the search stands and what happened last; what is no trial's end outlives the table."""
        if isinstance(event, StudyProgress):
            self._progress = event
        elif (words := sentence(event)) is not None:
            self._last.append(words)
            if not (isinstance(event, TrialEnded) and event.state in EXPECTED):
                self._kept.append(words)

    def drawn(self) -> RenderableType:
        """Return what is to be seen now."""
        if self._progress is None:
            return Text("starting the workers …", style="dim")
        return live_table(self._progress, self._last, self._console.width)


def live_table(progress: StudyProgress, last: Iterable[str] = (), width: int = 120) -> RenderableType:
    """Return the whole live view, the last lines below; columns of lesser use go where it is narrow."""
    shown, gap = columns(progress, width)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold", expand=False)
    for column in shown:
        table.add_column(column.name, justify=column.justify, no_wrap=True, min_width=column.width or None)
    for trial in progress.running:
        table.add_row(*(column.cell(trial) for column in shown))
    lines = [Text(f"  {one}", style="dim", no_wrap=True, overflow="ellipsis") for one in last]
    waits = waiting_line(progress)
    # Of what waits no rung may be cut off; what happened is told in whole once it is over.
    waiting = [] if waits is None else [Padding(Text(waits, style="dim"), (0, 0, 0, 2), expand=False)]
    return Group(_head(progress), Text(), table, Text(), *waiting, *lines)


def _head(progress: StudyProgress) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.trials), completed=progress.finished, width=30)
    grid.add_row(
        Text(progress.study, style="bold"),
        bar,
        Text(finished_of(progress)),
    )
    counts = Text()
    for state, count in progress.counts.items():
        if count:
            counts.append(f"{show_count(count)} {state}  ", style=LOOKS[state].style)
    lines: list[RenderableType] = [grid, counts]
    if progress.best is not None:
        best = progress.best
        lines.append(
            Text.assemble(
                "best ",
                (shown_best(best), "bold green"),
                f" (trial {best.number}; base model {show_loss(progress.base_loss)})  ",
                (show_params(best.params, progress.varied), "green"),
            )
        )
    lines.append(Text("  ".join(rates(progress)), style="dim"))
    return Group(*lines)
