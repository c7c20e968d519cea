"""AdamW, clipping and learning-rate schedules for many trials at once, one row each.

Every function takes the rows of the trials that step now, so a trial's update depends on its own
row alone. The numbers are those of ``torch.optim.AdamW`` (Loshchilov and Hutter, 2019), of
``torch.nn.utils.clip_grad_norm_`` and of Transformers' ``get_scheduler``, as Trainer uses them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from ...spaces.arguments import decay_steps, warmup_steps
from ...spaces.params import LoraParams

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """What one trial's optimizer step needs beside its row."""

    number: int
    """Steps taken, this one included; counts from 1."""
    learning_rate: float
    """Of this step, after schedule."""
    weight_decay: float
    """Decoupled weight decay."""
    lr_ratio_b: float
    """LoRA+: the learning rate of B over that of A."""


def schedule_factor(kind: str, step: int, *, warmup: int, total: int, decay: int = 0) -> float:
    """Return the share of the peak learning rate at a step, counted from 0.

    Under warm-up step 0 runs at rate 0, as in Trainer.

    Args:
        kind: ``linear``, ``cosine``, ``constant_with_warmup`` or ``warmup_stable_decay``: after the warm-up
            the rate is held, and falls in the last quarter of the steps as one minus the square root of
            the share done (Hägele et al., 2024).
        step: steps already taken.
        warmup: steps of warm-up.
        total: steps of the whole trial.
        decay: steps at its end over which ``warmup_stable_decay`` falls.
    """
    if step < warmup:
        return step / max(1, warmup)
    if kind == "constant_with_warmup":
        return 1.0
    if kind == "warmup_stable_decay":
        held = total - decay
        return 1.0 if step < held else 1.0 - math.sqrt((step - held) / decay)
    progress = (step - warmup) / max(1, total - warmup)
    if kind == "linear":
        return max(0.0, 1.0 - progress)
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    raise AssertionError(f"unknown schedule {kind!r}")


def next_step(params: LoraParams, *, taken: int, total: int) -> Step:
    """Return the step that a trial takes after ``taken`` of its ``total`` optimizer steps."""
    factor = schedule_factor(
        params.lr_scheduler_type,
        taken,
        warmup=warmup_steps(params, total),
        total=total,
        decay=decay_steps(params, total),
    )
    return Step(
        number=taken + 1,
        learning_rate=params.learning_rate * factor,
        weight_decay=params.weight_decay,
        lr_ratio_b=params.loraplus_lr_ratio,
    )


def clip_by_row_norm(rows: Sequence[torch.Tensor], max_norm: float) -> list[float]:
    """Scale each trial's gradient ``[P]`` in place to at most ``max_norm``; return their norms before.

    A norm that is not finite leaves its row as it is. All norms are read from the device at once.
    """
    if not rows:
        return []
    norms: list[float] = torch.stack(torch._foreach_norm(list(rows))).tolist()
    finite = [(row, norm) for row, norm in zip(rows, norms, strict=True) if math.isfinite(norm)]
    if finite:
        torch._foreach_mul_(
            [row for row, _ in finite], [min(1.0, max_norm / (norm + 1e-6)) for _, norm in finite]
        )
    return norms


def adamw(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    exp_avgs: Sequence[torch.Tensor],
    exp_avg_sqs: Sequence[torch.Tensor],
    steps: Sequence[Step],
    *,
    b_start: int,
) -> None:
    """Update rows ``[P]`` in place, one per trial.

    Args:
        params: the trials' adapter weights, all of A before ``b_start``, all of B from there.
        grads: their clipped gradients.
        exp_avgs: first moments.
        exp_avg_sqs: second moments.
        steps: each trial's own rate, decay and step number.
        b_start: where B begins in a row.
    """
    if not params:
        return
    # Two parts per row, because LoRA+ gives B a learning rate of its own.
    parts = [
        [row[cut] for row in rows for cut in (slice(0, b_start), slice(b_start, None))]
        for rows in (params, grads, exp_avgs, exp_avg_sqs)
    ]
    weights, gradients, first, second = parts
    rates = [step.learning_rate * ratio for step in steps for ratio in (1.0, step.lr_ratio_b)]
    decays = [step.weight_decay for step in steps for _ in range(2)]
    numbers = [step.number for step in steps for _ in range(2)]

    torch._foreach_mul_(weights, [1.0 - rate * decay for rate, decay in zip(rates, decays, strict=True)])
    torch._foreach_lerp_(first, gradients, 1.0 - BETA1)
    torch._foreach_mul_(second, BETA2)
    torch._foreach_addcmul_(second, gradients, gradients, 1.0 - BETA2)
    denominators = torch._foreach_sqrt(second)
    torch._foreach_div_(denominators, [math.sqrt(1.0 - BETA2**number) for number in numbers])
    torch._foreach_add_(denominators, EPSILON)
    sizes = [-rate / (1.0 - BETA1**number) for rate, number in zip(rates, numbers, strict=True)]
    torch._foreach_addcdiv_(weights, first, denominators, sizes)
