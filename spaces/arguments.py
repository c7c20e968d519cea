"""A trial's hyperparameters as the arguments that others take, by what the register says of each.

Knows no library and imports none.
"""

from __future__ import annotations

import math
from typing import Any

from .params import FIELDS, LoraParams

DECAY_PARTS = 4
"""``warmup_stable_decay`` lets the learning rate fall over the last one of so many equal parts."""


def lora_config(params: LoraParams) -> dict[str, Any]:
    """Return the arguments of PEFT's ``LoraConfig``: the rank as ``r``, an alpha without fraction as int.

    >>> params = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=4, lora_alpha=8.0)
    >>> lora_config(params)
    {'r': 4, 'lora_alpha': 8, 'lora_dropout': 0.0, 'target_modules': 'all-linear', 'use_rslora': False}
    """
    found = {one.peft: _plain(params, name) for name, one in FIELDS.items() if one.peft is not None}
    alpha = float(params.lora_alpha)
    found["lora_alpha"] = int(alpha) if alpha.is_integer() else alpha  # PEFT declares an int, takes both
    names = params.target_names
    found["target_modules"] = "all-linear" if names == ("all",) else list(names)
    return found


def training_arguments(params: LoraParams) -> dict[str, Any]:
    """Return the arguments of Transformers' ``TrainingArguments``, for one device that takes a whole batch.

    ``warmup_steps`` is the ratio itself, which Transformers 5 takes for a share of all steps.
    """
    return {one.trainer: _plain(params, name) for name, one in FIELDS.items() if one.trainer is not None}


def warmup_steps(params: LoraParams, total: int) -> int:
    """Return the optimizer steps of warm-up among ``total``, rounded up as Trainer does."""
    return math.ceil(total * params.warmup_ratio)


def decay_steps(params: LoraParams, total: int) -> int:
    """Return over how many of the last steps ``warmup_stable_decay`` lets the learning rate fall."""
    return min(total // DECAY_PARTS, total - warmup_steps(params, total))


def scheduler_arguments(params: LoraParams, total: int) -> dict[str, Any]:
    """Return what Transformers' ``lr_scheduler_kwargs`` must hold; empty for most schedules.

    >>> params = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=4, lora_alpha=8.0,
    ...     lr_scheduler_type="warmup_stable_decay")
    >>> scheduler_arguments(params, 100)
    {'num_decay_steps': 25, 'decay_type': '1-sqrt'}
    """
    if params.lr_scheduler_type != "warmup_stable_decay":
        return {}
    return {"num_decay_steps": decay_steps(params, total), "decay_type": "1-sqrt"}


def _plain(params: LoraParams, name: str) -> Any:
    return FIELDS[name].kind.plain(getattr(params, name))
