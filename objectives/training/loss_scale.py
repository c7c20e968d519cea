"""Loss scaling in float16, below whose smallest numbers a gradient may fall: for each trial by itself.

A gradient is multiplied up before it is rounded to float16, and divided again in float32. A step whose
gradient is no longer finite is left out and the scale halved; after many good ones in a row it is doubled: as
``torch.amp.GradScaler`` does, with its defaults. Knows nothing of the pack and of optimizers.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence

import torch

from ..data.dataset import Split
from .model import BaseModel

INITIAL = 2.0**16
GROWTH = 2.0
BACKOFF = 0.5
GROWTH_INTERVAL = 2000
"""Good steps in a row after which the scale grows. These four are GradScaler's defaults."""

FLOOR = 1.0
"""Least scale: a gradient that is not finite even there is the trial's own fault."""

_SCALE, _GOOD = "loss_scale", "loss_scale_good_steps"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossScale:
    """Where one trial's loss scaling stands."""

    scale: float = INITIAL
    """What the mean loss of an effective batch is multiplied by."""
    good_steps: int = 0
    """Steps in a row with a finite gradient since the scale last changed."""

    def factor(self, tokens: float) -> float:
        """Return what the summed loss is multiplied by, for a batch of about so many target tokens.

        A power of two, so that it is divided out again without rounding.

        >>> LossScale(scale=1024.0).factor(100.0)
        8.0
        """
        return 2.0 ** math.floor(math.log2(self.scale / max(1.0, tokens)))

    def after_good(self) -> LossScale:
        """Return where it stands after a step with a finite gradient."""
        if self.good_steps + 1 < GROWTH_INTERVAL:
            return LossScale(scale=self.scale, good_steps=self.good_steps + 1)
        return LossScale(scale=self.scale * GROWTH)

    def after_overflow(self) -> LossScale | None:
        """Return where it stands after a step that was left out; None where the scale cannot fall."""
        return None if self.scale <= FLOOR else LossScale(scale=max(FLOOR, self.scale * BACKOFF))

    def to_file(self) -> dict[str, str]:
        """Return it as metadata of a checkpoint."""
        return {_SCALE: self.scale.hex(), _GOOD: str(self.good_steps)}

    @classmethod
    def from_file(cls, metadata: Mapping[str, str]) -> LossScale:
        """Return what ``to_file`` wrote, as new where a file has none; raises ``ValueError``."""
        if _SCALE not in metadata:
            return cls()
        scale = float.fromhex(metadata[_SCALE])
        if not (math.isfinite(scale) and scale >= FLOOR):
            raise ValueError(f"{_SCALE} {metadata[_SCALE]!r} is no scale")
        return cls(scale=scale, good_steps=int(metadata.get(_GOOD, "0")))


class LossScaling:
    """What loss scaling does with the trials of a session: nothing in a number type that needs none.

    Args:
        base: the base model, whose number type decides.
        train: the training examples: how many target tokens a batch usually has.
    """

    def __init__(self, base: BaseModel, train: Split) -> None:
        self._on = base.dtype == torch.float16
        self._tokens, self._device = float(train.target_tokens.mean()), base.device
        self._sent: tuple[tuple[float, ...], torch.Tensor] | None = None

    def taken_up(self, metadata: Mapping[str, str]) -> LossScale:
        """Return where a checkpoint left a trial; raises ``ValueError``."""
        return LossScale.from_file(metadata) if self._on else LossScale()

    def factor(self, scale: LossScale, batch_size: int) -> float:
        """Return what a trial's gradients are multiplied by until its next step."""
        return scale.factor(self._tokens * batch_size) if self._on else 1.0

    def sent(self, factors: Sequence[float]) -> torch.Tensor | None:
        """Return ``[n]`` the factors of some trials on the device; None where nothing is multiplied."""
        if not self._on:
            return None
        wanted = tuple(factors)
        if self._sent is None or self._sent[0] != wanted:
            self._sent = wanted, torch.tensor(wanted, device=self._device)
        return self._sent[1]

    def after(self, scale: LossScale, norm: float, trial: int) -> tuple[LossScale, bool]:
        """Return a trial's scale after a gradient of that norm, and whether its step is left out.

        As under Trainer, such a step moves neither the schedule nor Adam's count. A trial whose scale cannot
        fall any more is not spared.
        """
        if not self._on:
            return scale, False
        if math.isfinite(norm):
            return scale.after_good(), False
        lower = scale.after_overflow()
        if lower is None:
            return scale, False
        _logger.info(
            "trial %d: a gradient left float16; its step is left out, its scale %g", trial, lower.scale
        )
        return lower, True

    def to_file(self, scale: LossScale) -> dict[str, str]:
        """Return a trial's as metadata of its checkpoint."""
        return scale.to_file() if self._on else {}
