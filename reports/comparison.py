"""The best trial against something else, in words: by how much it is better, and how sure that is."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, show_loss
from .paired import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best trial against something else, on the same validation examples."""

    against: str
    """What it is compared with: ``the base model`` or, say, ``trial 0 (default)``."""
    loss: float
    """The other one's loss."""
    best_loss: float
    """The best trial's loss."""
    interval: Interval | None
    """Other minus best: positive where the best is better; None where it cannot be had."""

    @property
    def words(self) -> str:
        """One sentence."""
        other = self.against[0].upper() + self.against[1:]
        gain = self.loss - self.best_loss
        direction = "lower" if gain >= 0 else "higher"
        text = f"{other} has {show_loss(self.loss)}: the best trial is {show_loss(abs(gain))} {direction}"
        if self.interval is None:
            return text + "; there are too few common examples for an interval."
        ends = sorted((abs(self.interval.low), abs(self.interval.high)))
        if self.interval.distinguishable:
            return text + f" (95 % interval {show_loss(ends[0])} to {show_loss(ends[1])})."
        on = counted(self.interval.examples, "example")
        return (
            text + f", which is not distinguishable from no difference on these {on} (95 % interval "
            f"{show_signed(self.interval.low)} to {show_signed(self.interval.high)}, which includes 0)."
        )


def show_signed(value: float) -> str:
    """Return a difference of losses with its sign, a true minus: ``−0.0041``, ``+0.0113``."""
    return f"{value:+.4f}".replace("-", "−")
