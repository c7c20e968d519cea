"""A trial inside a fake worker: what a row of the pack and its slot would hold."""

from __future__ import annotations

import dataclasses

from ...spaces.params import LoraParams
from ...study.budget import ROUNDS
from ...study.stopping import Stopping
from ..base import Measures
from .surface import eval_tokens, unit


@dataclasses.dataclass
class FakeSlot:
    """One trial; ``kept`` is the state that one of full length would keep if it ended now."""

    params: LoraParams
    seed: int
    attempt: int
    round: int
    state: str
    diverged: bool = False
    losses: list[float] = dataclasses.field(default_factory=list)
    kept: str = ""
    over: bool = False

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.diverged or self.over or self.round == ROUNDS

    def end_if_over(self, loss: float, stopping: Stopping) -> bool:
        """Note the loss of a round of a trial of full length; return whether it has ended."""
        self.losses.append(loss)
        if stopping.kept_round(self.losses) == len(self.losses):
            self.kept = self.state
        self.over = self.round == ROUNDS or stopping.is_over(self.losses)
        return self.over


def measures(state: str, size: int) -> Measures:
    """Return what a final evaluation measures beside the losses, whose order is another."""
    share = 0.5 + 0.4 * unit(state, "correct")
    return Measures(correct=tuple(int(count) for count in eval_tokens(size) * share))
