"""How a model is trained plainly, without adapters, to be measured against: which weights, at which rate."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

from ..errors import UsageError
from .format import counted

PlainName = Literal["full", "freeze"]
"""``full``: every weight is trained; ``freeze``: those of the last decoder layers, and nothing else."""

PLAIN_NAMES: tuple[PlainName, ...] = get_args(PlainName)

FREEZE_LAYERS = 2
"""Layers that ``freeze`` trains unless the user says otherwise: the default of LLaMA-Factory."""

RATE_OF_LORA = 10.0
"""The best learning rate of LoRA over the best one of training every weight: LoRA Without Regret (Thinking
Machines, 2025) finds about ten, whatever the model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainMethod:
    """One way to train plainly; raises ``UsageError``."""

    name: PlainName
    """Which weights are trained."""
    layers: int | None = None
    """The last decoder layers that ``freeze`` trains, at least 1; None for ``full``."""
    learning_rate: float
    """Its peak."""

    def __post_init__(self) -> None:
        if self.name not in PLAIN_NAMES:
            raise UsageError(f"method: {self.name!r} is neither {' nor '.join(PLAIN_NAMES)}")
        if self.name == "full" and self.layers is not None:
            raise UsageError(f"freeze_layers: {self.layers} says nothing of the method full; leave it out")
        if self.name == "freeze" and (self.layers is None or self.layers < 1):
            raise UsageError(f"freeze_layers: {self.layers} is not at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"learning_rate: {self.learning_rate} is not above 0")

    @property
    def words(self) -> str:
        """The method in words.

        >>> PlainMethod(name="freeze", layers=2, learning_rate=1e-4).words
        'freeze, last 2 layers'
        """
        return self.name if self.layers is None else f"{self.name}, last {counted(self.layers, 'layer')}"

    @property
    def state_name(self) -> str:
        """The file of its training state, another for each choice.

        >>> PlainMethod(name="freeze", layers=2, learning_rate=1e-4).state_name
        'freeze-2-0.0001.safetensors'
        """
        parts = (self.name, *(() if self.layers is None else (str(self.layers),)), repr(self.learning_rate))
        return "-".join(parts) + ".safetensors"
