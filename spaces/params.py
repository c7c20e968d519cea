"""One trial's hyperparameters, under the names that Transformers, PEFT and LLaMA-Factory use.

Does not know what may be searched (space.py) or how a trial is trained.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from ..errors import SpaceError, nearest, shown

SCHEDULERS = ("linear", "cosine", "constant_with_warmup")

LARGEST_WHOLE = 65536
"""Largest ``batch_size`` and ``lora_rank``; more is a slip of the keyboard."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraParams:
    """The hyperparameters of one trial; checked when made, raises ``SpaceError``."""

    learning_rate: float
    """Peak learning rate of AdamW, above 0."""
    batch_size: int
    """Examples per optimizer step (the effective batch size), 1 to 65536."""
    lora_rank: int
    """Rank r of the update B·A, 1 to 65536."""
    lora_alpha: float
    """The update is scaled by ``lora_alpha / lora_rank``; above 0."""
    warmup_ratio: float = 0.0
    """Share of the optimizer steps over which the learning rate rises from 0, in [0, 1)."""
    lora_dropout: float = 0.0
    """Chance that an input feature of an adapter is dropped while training, in [0, 1)."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW on the adapter weights, at least 0."""
    lora_target: str = "all"
    """``all`` linear layers but the head, or module names with commas: ``q_proj,v_proj``."""
    lr_scheduler_type: str = "cosine"
    """``linear``, ``cosine`` or ``constant_with_warmup``."""
    loraplus_lr_ratio: float = 1.0
    """LoRA+ (Hayou et al., 2024): the learning rate of B over that of A; 1 is plain LoRA."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "lora_alpha", "loraplus_lr_ratio"):
            _check(name, getattr(self, name), above=0.0)
        for name in ("batch_size", "lora_rank"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_WHOLE:
                raise SpaceError(f"{name}: {shown(value)} is not a whole number from 1 to {LARGEST_WHOLE}")
        for name in ("warmup_ratio", "lora_dropout"):
            _check(name, getattr(self, name), least=0.0, below=1.0)
        _check("weight_decay", self.weight_decay, least=0.0)
        if self.lr_scheduler_type not in SCHEDULERS:
            raise SpaceError(
                f"lr_scheduler_type: {shown(self.lr_scheduler_type)} is not one of {', '.join(SCHEDULERS)}"
                + nearest(str(self.lr_scheduler_type), SCHEDULERS)
            )
        if not isinstance(self.lora_target, str) or not all(self.target_names):
            raise SpaceError(
                f"lora_target: {shown(self.lora_target)} is not 'all' or a comma list such as 'q_proj,v_proj'"
            )

    @property
    def target_names(self) -> tuple[str, ...]:
        """The module names of ``lora_target``, sorted and without repeats; ``("all",)`` for all."""
        return tuple(sorted({name.strip() for name in self.lora_target.split(",")}))

    @property
    def scaling(self) -> float:
        """The factor on the update: ``lora_alpha / lora_rank``."""
        return self.lora_alpha / self.lora_rank

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LoraParams:
        """Make parameters from a dictionary; an unknown name raises ``SpaceError``."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise SpaceError(f"{shown(name)}: not a hyperparameter{nearest(str(name), known)}")
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if field.default is dataclasses.MISSING and field.name not in values
        ]
        if missing:
            raise SpaceError(f"{missing[0]}: has no value; a configuration needs {', '.join(missing)}")
        return cls(**values)


def _check(
    name: str,
    value: object,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> None:
    """Raise ``SpaceError`` unless ``value`` is a finite number within the bounds."""
    bounds = [
        f"above {above:g}" if above is not None else "",
        f"at least {least:g}" if least is not None else "",
        f"below {below:g}" if below is not None else "",
    ]
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max  # false for NaN too
        and (above is None or value > above)
        and (least is None or value >= least)
        and (below is None or value < below)
    )
    if not fits:
        wanted = " and ".join(bound for bound in bounds if bound)
        raise SpaceError(f"{name}: {shown(value)} is not a number {wanted}")
