"""A trial's hyperparameters as the arguments that others take, by what the register says of each.

Knows no library and imports none.
"""

from __future__ import annotations

from typing import Any

from .params import FIELDS, LoraParams


def lora_config(params: LoraParams) -> dict[str, Any]:
    """Return the arguments of PEFT's ``LoraConfig``: the rank as ``r``, an alpha without fraction as int.

    >>> params = LoraParams(learning_rate=1e-4, batch_size=8, lora_rank=4, lora_alpha=8.0)
    >>> lora_config(params)
    {'r': 4, 'lora_alpha': 8, 'lora_dropout': 0.0, 'target_modules': 'all-linear'}
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


def _plain(params: LoraParams, name: str) -> Any:
    return FIELDS[name].kind.plain(getattr(params, name))
