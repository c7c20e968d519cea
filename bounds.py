"""Between what a number that the user gives may lie, whether by a flag or in a file: each said once.

The ends are far beyond what anybody needs. Without them a slip (``trials: 1e30``) would be an endless study,
or a number that no database and no trainer takes.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
    """The least and the greatest value of a number, both allowed unless ``above`` says otherwise."""

    low: int | float
    """The least."""
    high: int | float
    """The greatest."""
    above: bool = False
    """Whether the least itself is too little."""


TRIALS = Bounds(low=1, high=1_000_000)
"""Trials of a study in all."""

NUMBER = Bounds(low=0, high=TRIALS.high)
"""A trial's number."""

EXAMPLES = Bounds(low=1, high=1_000_000_000)
"""Training or validation examples of a trial."""

EXAMPLES_IN_ALL = Bounds(low=1, high=1_000_000_000_000)
"""Training examples of a search and of all that follows from it."""

HOURS = Bounds(low=0.0, high=100_000.0, above=True)
"""Hours of a search and of all that follows from it."""

CUTOFF_LEN = Bounds(low=2, high=16_777_216)
"""Tokens of an example."""

PATIENCE = Bounds(low=1, high=8)
"""Rounds of a trial of full length without a lower loss."""

LAYERS = Bounds(low=1, high=10_000)
"""Decoder layers of a model."""

LEARNING_RATE = Bounds(low=0.0, high=1000.0, above=True)
"""Learning rate of a training without adapters."""

SEED = Bounds(low=0, high=2**31 - 1)
"""A seed."""

KEEP_ADAPTERS = Bounds(low=1, high=TRIALS.high)
"""Adapters kept on disk."""

TOP = Bounds(low=1, high=1000)
"""Trials that are confirmed."""

SEEDS = Bounds(low=1, high=8)
"""Seeds under which they are: as many as a study's shapes are made for."""

SAMPLES = Bounds(low=0, high=100)
"""Validation prompts that a report shows answers to."""

WORKERS = Bounds(low=1, high=1024)
"""Worker processes."""

SLOTS = Bounds(low=1, high=4096)
"""Trials at once in a worker."""

TIMEOUT = Bounds(low=0.0, high=1e9, above=True)
"""Seconds after which a search ends; the greatest is thirty years."""

MAX_GRAD_NORM = Bounds(low=0.0, high=1e9, above=True)
"""Norm to which gradients are clipped."""

EPOCHS = Bounds(low=0.0, high=1000.0, above=True)
"""Epochs of the full run that an export describes."""
