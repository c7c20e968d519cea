"""From a short trial to a full run: its steps, its warm-up, and how much of it the trial was."""

from __future__ import annotations

import dataclasses
import math

EPOCHS = 3.0
"""Epochs of a full run unless the user says otherwise: the default of Transformers' Trainer."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FullRun:
    """The training that a configuration is exported for."""

    epochs: float
    """How often it sees the training data."""
    train_examples: int
    """Training examples of an epoch."""
    batch_size: int
    """Examples per optimizer step."""
    warmup_ratio: float
    """Share of the steps that warm up."""
    trial_examples: int
    """Training examples that the trial saw when it was selected."""

    @property
    def steps(self) -> int:
        """Optimizer steps, counted as Trainer does: the last, smaller batch of an epoch is a step."""
        return math.ceil(self.epochs * max(1, math.ceil(self.train_examples / self.batch_size)))

    @property
    def warmup_steps(self) -> int:
        """Whole steps of warm-up, rounded up as Trainer rounds ``warmup_ratio``."""
        return math.ceil(self.warmup_ratio * self.steps)

    @property
    def share(self) -> float:
        """The trial's examples over the full run's."""
        return self.trial_examples / (self.epochs * max(1, self.train_examples))
