"""What each figure shows, as tuples: extracted here and tested, drawn in figures.py or text.py."""

from __future__ import annotations

import dataclasses
import datetime
import math

from ...spaces.dimension import Dimension
from ...spaces.params import value_of
from ...spaces.range import Range
from ...study.format import show_value
from ...study.records import CurvePoint
from ..view import StudyView


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
    """(number, best final loss up to it), one for each trial from the first complete one on."""
    base_loss: float
    """The base model's loss."""


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
    least = math.inf
    for trial in view.trials:
        if trial.value is not None:
            least = min(least, trial.value)
        if math.isfinite(least):
            best.append((trial.number, least))
    return History(points=points, best=tuple(best), base_loss=view.base_loss)


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


def _position(dimension: Dimension, value: float | str) -> float:
    """Return where a value lies on its axis: lists evenly by index, ranges by their own scale."""
    if isinstance(dimension, Range):
        return dimension.place(value)
    suggestion = dimension.suggestion_of(value)
    place = dimension.values.index(suggestion) if isinstance(suggestion, str) else int(suggestion)
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
