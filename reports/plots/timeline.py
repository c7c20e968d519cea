"""Which trials trained when, in lanes of workers."""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING

from ...study.format import show_seconds
from ...study.records import CurvePoint
from ..state_looks import LOOKS
from ..view import StudyView
from .kind import Kind, some
from .lettering import wrapped

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """The time that a trial took in one lane of a worker."""

    trial: int
    """Its number."""
    state: str
    """Where it stands."""
    worker: int
    """The worker."""
    lane: int
    """From 0, a place beside the other trials that trained at the same time there."""
    start: datetime.datetime
    """When its first round there began."""
    end: datetime.datetime
    """When its last round there ended."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeline:
    """Which trials trained when."""

    spans: tuple[Span, ...]
    """By worker, lane and start."""

    @property
    def lanes(self) -> tuple[tuple[int, int], ...]:
        """(worker, lane) of every row, in order."""
        return tuple(sorted({(span.worker, span.lane) for span in self.spans}))


def timeline(view: StudyView) -> Timeline:
    """Return when each trial trained, in lanes so that spans of one lane never overlap."""
    states = {trial.number: view.state_of(trial) for trial in view.trials}
    stays: dict[tuple[int, int], list[list[CurvePoint]]] = {}
    for point in sorted(view.curve, key=lambda point: (point.trial, point.round)):
        if point.trial not in states:
            continue
        stretches = stays.setdefault((point.worker, point.trial), [])
        if stretches and not _apart(stretches[-1][-1], point):
            stretches[-1].append(point)
        else:
            stretches.append([point])
    found = [
        (stretch[0].started_at, worker, trial, stretch[-1].finished_at)
        for (worker, trial), stretches in stays.items()
        for stretch in stretches
    ]
    free: dict[int, list[datetime.datetime]] = {}
    spans = []
    for start, worker, trial, end in sorted(found):
        lanes = free.setdefault(worker, [])
        lane = next((index for index, until in enumerate(lanes) if until <= start), len(lanes))
        lanes[lane : lane + 1] = [end]
        spans.append(Span(trial=trial, state=states[trial], worker=worker, lane=lane, start=start, end=end))
    return Timeline(spans=tuple(sorted(spans, key=lambda span: (span.worker, span.lane, span.start))))


def _apart(earlier: CurvePoint, later: CurvePoint) -> bool:
    """Return whether a trial was away between two points, such as over an interruption."""
    pause = later.started_at - earlier.finished_at
    return pause > (earlier.finished_at - earlier.started_at) + datetime.timedelta(seconds=1)


def timeline_figure(facts: Timeline) -> go.Figure:
    """Draw which trials trained when, one row for each lane of a worker."""
    import plotly.graph_objects as go

    from .drawing import dressed

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
    return dressed(figure, height=130 + 26 * max(3, len(names)))


def timeline_text(facts: Timeline, width: int) -> list[str]:
    """Return its lines for a terminal of that width."""
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
    return [*lines, "", *wrapped(words, width)]


KIND = Kind(
    words="Which trials trained when",
    facts=some(timeline, "spans", "no trial was trained yet"),
    figure=timeline_figure,
    text=timeline_text,
)
"""As ``tune plot timeline`` shows it."""
