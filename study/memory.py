"""What memory goes to in training: part by part, and what a worker holds for each trial; all in bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryParts:
    """What a worker's memory goes to; what is no part of a worker is 0."""

    weights: int
    """The base model, in whatever form it is held."""
    adapters: int
    """Weights that are trained, where they are not the base model's own."""
    gradients: int
    """Their gradients."""
    moments: int
    """The optimizer's two moments of each."""
    activations: int
    """What the forward pass of a micro-step keeps for the backward pass, masks included."""
    backward: int
    """What the backward pass holds beside it at its height."""
    head: int
    """A chunk at the head: logits and what follows from them."""
    evaluation: int
    """An evaluation's pass, which keeps nothing."""
    optimizer: int
    """Temporaries of an optimizer's step."""
    context: int = 0
    """What the device's own libraries take; on a CPU, the process and its data."""

    slack: int = 0
    """What an allocator keeps between blocks that are still held."""

    @property
    def always(self) -> int:
        """Bytes that are there all the time."""
        return self.weights + self.adapters + self.gradients + self.moments + self.context

    @property
    def height(self) -> int:
        """Bytes that come and go, at their height: in a micro-step, an optimizer's step or an evaluation."""
        return max(self.activations + max(self.backward, self.head), self.optimizer, self.evaluation)

    @property
    def peak(self) -> int:
        """The most bytes that are held at once."""
        return self.always + self.height + self.slack


MethodName = Literal["full", "freeze", "lora", "qlora"]
"""Every weight; those of the last layers; adapters; adapters on a base of 4 bits."""

RULE_BYTES: Mapping[MethodName, float] = {"full": 18, "freeze": 2, "lora": 2, "qlora": 0.5}
"""Rule of thumb: bytes of memory for each weight of the model, from the hardware table of LLaMA-Factory's
README (``18x``, ``2x``, ``2x`` and ``x/2`` GB for x billions)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodMemory:
    """What one way of training a model is predicted to take, a run of it alone."""

    name: MethodName
    """Which."""
    trained: int
    """Weights that are trained."""
    parts: MemoryParts
    """What its memory goes to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryFacts:
    """What a worker holds."""

    base_bytes: int
    """Weights of the base model, once per worker."""
    slot_bytes: int
    """Bytes of one more slot (its row, its moments, its activations): estimated, on a GPU measured."""
    available_bytes: int
    """Memory of the device that a worker may take, its own process included, before anything is loaded."""
    slots_max: int
    """Slots that fit."""
    worker_bytes: int = 0
    """What a worker holds beside the base model and its slots: libraries, data, a chunk at the head; on a
    GPU what of it lies there. 0 in studies made before it was counted."""
    row_bytes: int = 0
    """Those of ``slot_bytes`` that a slot takes also while others train: its row, its moments."""
    together: int = 0
    """Slots that go through the base model at once in the longest micro-step (G); 0: all of them, as in
    studies made before there were groups."""
    parts: MemoryParts | None = None
    """What the peak is made of that is predicted for the slots that were settled on; None in studies of
    before."""
    methods: tuple[MethodMemory, ...] = ()
    """What other ways of training this model would take; empty in studies of before."""

    def held(self, slots: int) -> int:
        """Return the bytes that a worker of so many slots is expected to hold at its height."""
        training = min(slots, self.together or slots)
        rows = slots * self.row_bytes + training * (self.slot_bytes - self.row_bytes)
        return self.base_bytes + self.worker_bytes + rows
