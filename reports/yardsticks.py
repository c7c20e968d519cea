"""What LoRA gave up: a trial of full length beside the same training without adapters."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, show_bytes, show_loss, show_seconds, show_short, show_value
from ..study.yardstick import KIND, yardstick_of
from .paired import Interval, paired_interval
from .view import StudyView

HEADER = ("method", "weights", "learning rate", "eval loss", "against LoRA", "peak memory", "time")
"""The names of the columns; the first is that of the rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """One way to train the same examples."""

    name: str
    """The method in words."""
    trainable: int | None
    """Weights that were trained; None where an old study does not say."""
    learning_rate: float
    """Its peak."""
    loss: float
    """On all the validation examples."""
    interval: Interval | None
    """Its loss minus LoRA's; None for LoRA itself and where there are too few examples."""
    memory_bytes: int
    """Peak memory of the process."""
    seconds: float
    """How long its rounds took."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yardsticks:
    """LoRA and what it is measured against."""

    rows: tuple[Trained, ...]
    """LoRA first, then the others as they were trained."""
    examples: int
    """Validation examples behind each loss."""
    together: int
    """Trials that LoRA was trained with in its process, itself included."""

    @property
    def sentence(self) -> str:
        """How the table is to be read."""
        words = (
            f"Against LoRA: the difference of the losses on the same {counted(self.examples, 'example')}, "
            "minus where it is lower, with its 95 % interval; of one run each, at a learning rate that was "
            "searched for LoRA alone."
        )
        if self.together > 1:
            words += f" LoRA's memory and time are those of {self.together} trials that trained together."
        return words


def yardsticks(view: StudyView) -> Yardsticks | None:
    """Return what a study of full length has to compare; None where it has nothing of the kind."""
    found = [yardstick_of(event) for event in view.events if event.kind == KIND]
    if not found:
        return None
    trial = view.trial(found[0].trial)
    own = view.evaluations.get(trial.number)
    assert own is not None, "it was complete before anything was measured against it"
    assert trial.value is not None, "as above"
    points = view.points(trial.number)
    lora = Trained(
        name="LoRA",
        trainable=view.model.trainable(trial.params),
        learning_rate=trial.params.learning_rate,
        loss=trial.value,
        interval=None,
        memory_bytes=max((point.memory_bytes for point in points), default=0),
        seconds=sum((point.finished_at - point.started_at).total_seconds() for point in points),
    )
    others = (
        Trained(
            name=one.method.words,
            trainable=one.trainable,
            learning_rate=one.method.learning_rate,
            loss=one.evaluation.loss,
            interval=paired_interval(one.evaluation, own),
            memory_bytes=one.memory_bytes,
            seconds=one.seconds,
        )
        for one in found
    )
    return Yardsticks(rows=(lora, *others), examples=len(own.losses), together=len(view.trials))


def cells(row: Trained) -> tuple[str, ...]:
    """Return a row of the table, in the order of ``HEADER``."""
    against = "–"
    if row.interval is not None:
        low, high = (f"{end:+.4f}" for end in (row.interval.low, row.interval.high))
        against = f"{row.interval.difference:+.4f} ({low} to {high})".replace("-", "−")
    return (
        row.name,
        "–" if row.trainable is None else show_short(row.trainable),
        show_value(row.learning_rate),
        show_loss(row.loss),
        against,
        show_bytes(row.memory_bytes),
        show_seconds(row.seconds),
    )
