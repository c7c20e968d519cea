"""What a trial of full length carries beside its row: its losses so far, and the weights it would keep.

They go through its checkpoints with it, so an interruption changes neither when it ends nor what is kept.
``study/stopping.py`` decides; knows nothing of how a trial trains.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import torch

from ...spaces.params import LoraParams
from ...study.checkpoint_format import KEPT, LOSSES, PARAMS
from ...study.stopping import Stopping
from . import checkpoint
from .pack import Pack

Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass(kw_only=True)
class Kept:
    """One trial's; changed by ``note`` alone."""

    stopping: Stopping
    """When it ends and what is kept."""
    losses: list[float] = dataclasses.field(default_factory=list)
    """Its eval loss after each round so far."""
    weights: Tensors = dataclasses.field(default_factory=dict)
    """The weights of an earlier round that is still the best; empty where the row's own are kept."""

    def note(self, loss: float, pack: Pack, row: int, params: LoraParams) -> None:
        """Take the loss of a round that has ended; the row holds its weights."""
        self.losses.append(loss)
        if self.stopping.keep == "best" and self.stopping.kept_round(self.losses) == len(self.losses):
            self.weights = checkpoint.weights_of(pack, row, params)

    def is_over(self, rounds: int, whole: int) -> bool:
        """Return whether the trial has ended, after so many rounds of a whole one's."""
        return rounds == whole or self.stopping.is_over(self.losses)

    def restore(self, pack: Pack, row: int, params: LoraParams) -> None:
        """Put the weights that are kept into the row."""
        if self.weights:
            checkpoint.weights_to_row(self.weights, pack, row, params)

    def to_file(self) -> tuple[Tensors, dict[str, str]]:
        """Return the tensors and the metadata that a checkpoint carries."""
        tensors = {KEPT + name.removeprefix(PARAMS): tensor for name, tensor in self.weights.items()}
        return tensors, {LOSSES: json.dumps(self.losses)}

    @classmethod
    def from_file(cls, stopping: Stopping, tensors: Tensors, metadata: Mapping[str, str]) -> Kept:
        """Make one of what a checkpoint carries; one of a trial that went on from elsewhere has nothing."""
        return cls(
            stopping=stopping,
            losses=[float(loss) for loss in json.loads(metadata.get(LOSSES, "[]"))],
            weights={
                PARAMS + name.removeprefix(KEPT): tensor
                for name, tensor in tensors.items()
                if name.startswith(KEPT)
            },
        )
