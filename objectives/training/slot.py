"""A trial in a session: what belongs to it but not to its row of numbers."""

from __future__ import annotations

import dataclasses
import math

from ...spaces.params import LoraParams
from .kept import Kept
from .loss_scale import LossScale
from .update import Dropout


@dataclasses.dataclass(kw_only=True)
class RoundSums:
    """What has been added up of one trial since its round began; made anew for each round."""

    loss: float = 0.0
    """Summed loss."""
    target_tokens: int = 0
    """Tokens that it was taken over."""
    tokens: int = 0
    """Real tokens."""
    norms: float = 0.0
    """Summed gradient norms."""
    steps: int = 0
    """Optimizer steps."""

    @property
    def mean_loss(self) -> float:
        """Mean loss over the target tokens so far."""
        return self.loss / self.target_tokens if self.target_tokens else math.nan

    @property
    def mean_norm(self) -> float:
        """Mean norm of the gradient before clipping."""
        return self.norms / self.steps if self.steps else math.nan


@dataclasses.dataclass(kw_only=True)
class Slot:
    """One trial in the pack, at the row of its place in the session's list."""

    trial: int
    """The trial's number."""
    params: LoraParams
    """Its hyperparameters."""
    seed: int
    """Seed of its data order, initial adapter and dropout."""
    attempt: int
    """Names its files."""
    rounds: int = 0
    """Rounds done."""
    steps: int = 0
    """Optimizer steps taken."""
    examples: int = 0
    """Training examples seen."""
    diverged: str | None = None
    """Why it cannot go on."""
    pending_tokens: int = 0
    """Target tokens whose gradients wait for the step."""
    learning_rate: float = 0.0
    """Of the last step."""
    norm: float = math.nan
    """Gradient norm of the last step."""
    sums: RoundSums = dataclasses.field(default_factory=RoundSums)
    """Of this round."""
    kept: Kept | None = None
    """What a trial of full length carries; None for all others."""
    scale: LossScale = dataclasses.field(default_factory=LossScale)
    """Where its loss scaling stands; of use in float16 alone."""

    @property
    def dropout(self) -> Dropout | None:
        """Its dropout in the next micro-step."""
        if self.params.lora_dropout == 0 or self.diverged is not None:
            return None
        return Dropout(p=self.params.lora_dropout, seed=self.seed, position=self.examples)
