"""The row-wise optimizer against torch's and Transformers' own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.training.optimizer import Step, adamw, clip_by_row_norm, next_step, schedule_factor
from loratune.spaces.arguments import decay_steps, scheduler_arguments, warmup_steps
from loratune.spaces.params import LoraParams
from transformers import get_scheduler

KINDS = ("linear", "cosine", "constant_with_warmup", "warmup_stable_decay")


@given(st.sampled_from(KINDS), st.integers(1, 80), st.floats(0, 0.99))
@settings(deadline=None, max_examples=80)
def test_a_schedule_is_that_of_transformers_at_every_step(kind: str, total: int, ratio: float) -> None:
    params = LoraParams(
        learning_rate=1.0,
        batch_size=1,
        lora_rank=1,
        lora_alpha=1.0,
        warmup_ratio=ratio,
        lr_scheduler_type=kind,
    )
    warmup, decay = warmup_steps(params, total), decay_steps(params, total)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        kind,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=total,
        scheduler_specific_kwargs=scheduler_arguments(params, total) or None,
    )
    for step in range(total):
        ours = schedule_factor(kind, step, warmup=warmup, total=total, decay=decay)
        assert ours == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_under_warmup_the_first_step_runs_at_rate_zero() -> None:
    assert schedule_factor("cosine", 0, warmup=5, total=50) == 0.0
    assert schedule_factor("cosine", 5, warmup=5, total=50) == 1.0


def test_rows_are_updated_as_torch_updates_each_alone() -> None:
    torch.manual_seed(0)
    width, b_start, rates = 40, 24, (1e-3, 0.1, 5.0)
    start = torch.randn(3, width)
    rows = [start.clone(), torch.zeros(3, width), torch.zeros(3, width), torch.zeros(3, width)]
    params, grads, first, second = rows
    parts = [
        [torch.nn.Parameter(start[row, cut].clone()) for cut in (slice(0, b_start), slice(b_start, None))]
        for row in range(3)
    ]
    theirs = [
        torch.optim.AdamW(
            [{"params": [a], "lr": rate}, {"params": [b], "lr": rate * (row + 1)}], weight_decay=0.1 * row
        )
        for row, ((a, b), rate) in enumerate(zip(parts, rates, strict=True))
    ]
    for number in range(1, 8):
        grads.copy_(torch.randn(3, width))
        for row, (a, b) in enumerate(parts):
            a.grad, b.grad = grads[row, :b_start].clone(), grads[row, b_start:].clone()
            theirs[row].step()
        steps = [
            Step(number=number, learning_rate=rate, weight_decay=0.1 * row, lr_ratio_b=row + 1.0)
            for row, rate in enumerate(rates)
        ]
        adamw(list(params), list(grads), list(first), list(second), steps, b_start=b_start)
    expected = torch.stack([torch.cat([a.detach(), b.detach()]) for a, b in parts])
    torch.testing.assert_close(params, expected, rtol=1e-6, atol=1e-7)


def test_a_row_that_does_not_step_is_not_touched() -> None:
    rows = [torch.randn(2, 8) for _ in range(4)]
    before = [row[1].clone() for row in rows]
    step = Step(number=1, learning_rate=0.1, weight_decay=0.0, lr_ratio_b=1.0)
    adamw(*([row[0]] for row in rows), [step], b_start=4)
    for row, old in zip(rows, before, strict=True):
        assert row[1].equal(old)
    adamw([], [], [], [], [], b_start=4)


def test_nothing_steps_without_rows_and_zero_stays_zero() -> None:
    zeros = [torch.zeros(1, 8) for _ in range(4)]
    step = Step(number=1, learning_rate=0.1, weight_decay=0.5, lr_ratio_b=1.0)
    adamw(*(list(row) for row in zeros), [step], b_start=4)
    assert all(not row.any() for row in zeros)


def test_clipping_is_that_of_torch_for_each_trial_by_itself() -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(50) * size for size in (0.01, 100.0, 1.0)]
    expected, clipped = [], []
    for gradient in gradients:
        theirs = torch.nn.Parameter(torch.zeros(50))
        theirs.grad = gradient.clone()
        expected.append(float(torch.nn.utils.clip_grad_norm_([theirs], 1.0)))
        clipped.append(theirs.grad)
    assert clip_by_row_norm(gradients, 1.0) == pytest.approx(expected, rel=1e-6)
    for gradient, theirs in zip(gradients, clipped, strict=True):
        torch.testing.assert_close(gradient, theirs)


def test_a_trials_clipped_gradient_is_the_same_bits_beside_any_other() -> None:
    torch.manual_seed(1)
    gradients = [torch.randn(999) * size for size in (0.3, 7.0, float("inf"))]
    alone = [gradient.clone() for gradient in gradients]
    norms = clip_by_row_norm(gradients, 1.0)
    for gradient, single, norm in zip(gradients, alone, norms, strict=True):
        assert str(clip_by_row_norm([single], 1.0)) == str([norm])
        assert gradient.numpy().tobytes() == single.numpy().tobytes()


def test_a_gradient_that_is_not_finite_is_reported_and_left() -> None:
    gradient, healthy = torch.tensor([1.0, float("inf")]), torch.tensor([3.0, 4.0])
    assert clip_by_row_norm([gradient, healthy], 1.0) == [float("inf"), 5.0]
    assert gradient[0] == 1.0
    torch.testing.assert_close(healthy, torch.tensor([0.6, 0.8]))
    assert clip_by_row_norm([], 1.0) == []


def test_the_next_step_is_what_the_params_say_at_that_place_of_the_schedule():
    params = LoraParams(
        learning_rate=0.5,
        batch_size=8,
        lora_rank=4,
        lora_alpha=8.0,
        warmup_ratio=0.2,
        weight_decay=0.01,
        lr_scheduler_type="linear",
        loraplus_lr_ratio=4.0,
    )
    steps = [next_step(params, taken=taken, total=10) for taken in (0, 1, 2, 9)]
    assert [step.learning_rate for step in steps] == [0.0, 0.25, 0.5, 0.5 / 8]
    assert [step.number for step in steps] == [1, 2, 3, 10]
    assert {(step.weight_decay, step.lr_ratio_b) for step in steps} == {(0.01, 4.0)}
