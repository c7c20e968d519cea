"""Loss scaling in float16: each trial has its own, and one that overflows loses its own step alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from loratune.objectives.training import loss_scale
from loratune.objectives.training.batches import collate
from loratune.objectives.training.loss_scale import LossScale
from loratune.objectives.training.optimizer import next_step
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.session import Session
from loratune.study.budget import ROUNDS
from loratune.study.config import ModelConfig
from tiny_packs import make_base, make_geometry, make_params, make_split, shake
from trained_trials import PARAMS, make_config, numbers, run, step


def test_its_defaults_are_those_of_pytorch() -> None:
    theirs = torch.amp.GradScaler("cpu")
    theirs.scale(torch.zeros(()))  # from then on it has a scale
    assert theirs.get_scale() == loss_scale.INITIAL
    assert theirs.get_growth_factor() == loss_scale.GROWTH
    assert theirs.get_backoff_factor() == loss_scale.BACKOFF
    assert theirs.get_growth_interval() == loss_scale.GROWTH_INTERVAL


@pytest.mark.parametrize("bad", [(), (0, 1, 2), (5, 2005, 2006, 4100), tuple(range(30))])
def test_it_falls_and_grows_as_pytorchs_does(bad: tuple[int, ...]) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    theirs = torch.amp.GradScaler("cpu")
    ours: LossScale | None = LossScale()
    for index in range(6200 if bad and max(bad) > 30 else 40):
        overflows = index in bad
        theirs.scale(weight.sum()).backward()
        if overflows:
            weight.grad.fill_(math.inf)
        theirs.step(optimizer)
        theirs.update()
        optimizer.zero_grad()
        assert ours is not None
        if overflows and ours.scale == loss_scale.FLOOR:
            assert ours.after_overflow() is None  # theirs goes on below one
            return
        ours = ours.after_overflow() if overflows else ours.after_good()
        assert ours is not None
        assert ours.scale == theirs.get_scale(), index


def test_a_factor_is_a_power_of_two_at_most_the_scale_over_the_tokens() -> None:
    for scale in (1.0, 3.0, 2.0**16, 2.0**20):
        for tokens in (0.0, 1.0, 7.5, 640.0, 1e5):
            factor = LossScale(scale=scale).factor(tokens)
            assert math.frexp(factor)[0] == 0.5
            assert factor <= scale / max(1.0, tokens) < 2 * factor


def test_a_scale_comes_back_from_a_file_and_a_file_without_one_begins_anew() -> None:
    for one in (LossScale(), LossScale(scale=8.0, good_steps=12)):
        assert LossScale.from_file({"other": "1", **one.to_file()}) == one
    assert LossScale.from_file({}) == LossScale()
    for broken in ("0x0p0", "inf", "nan", "no number"):
        with pytest.raises(ValueError, match=r"scale|hexadecimal"):
            LossScale.from_file({"loss_scale": broken})


# Trials on a base in float16


@pytest.fixture(scope="module", name="half")
def make_half(tiny_model: Path, tiny_data: Path):
    model = ModelConfig(name_or_path=str(tiny_model), device="cpu", dtype="float16")
    session = Session(dataclasses.replace(make_config(tiny_model, tiny_data), model=model))
    yield session
    session.close()


def scale_of(file: Path) -> LossScale:
    with safetensors.safe_open(file, framework="pt") as opened:
        return LossScale.from_file(opened.metadata())


def overflowing(
    monkeypatch: pytest.MonkeyPatch, session: Session, trial: int, steps: tuple[int, ...]
) -> None:
    """Let the gradient of a trial be too great for float16 in some of its micro-steps."""
    plain, seen = session._pack.accumulate, []

    def accumulate(batch, dropout, *more):
        losses = plain(batch, dropout, *more)
        trials = [slot.trial for slot in session._slots]
        if trial in trials and len(seen) in steps:
            session._pack.grads[trials.index(trial)].fill_(math.inf)
        seen.append(trial)
        return losses

    monkeypatch.setattr(session._pack, "accumulate", accumulate)


def test_a_whole_trial_in_float16_learns_as_in_float32(
    half: Session, session: Session, tmp_path: Path
) -> None:
    ours, theirs = run(half, [1, 2, 3], tmp_path / "half"), run(session, [1, 2, 3], tmp_path / "whole")
    for trial, results in ours.items():
        for result, other in zip(results, theirs[trial], strict=True):
            assert result.train_loss == pytest.approx(other.train_loss, rel=2e-2), trial
            # A step that a gradient too great for float16 has cost makes the next ones another's.
            if scale_of(result.file).scale == LossScale().scale:
                assert result.grad_norm == pytest.approx(other.grad_norm, rel=0.1), trial
    assert ours[2][-1].train_loss < ours[2][0].train_loss - 0.1
    assert scale_of(ours[1][-1].file) == LossScale(good_steps=16)


def test_gradients_below_float16s_numbers_are_kept_by_the_factor() -> None:
    found = {}
    for dtype in (torch.float32, torch.float16):
        base = make_base()
        base.model.lm_head.weight.mul_(1e-4)  # so that hardly anything comes back from the head
        base.model.to(dtype)
        base = dataclasses.replace(base, dtype=dtype)
        for factor in (None, 2.0**14):
            pack = Pack(base, make_geometry(base), slots=2)
            for seed in range(2):
                shake(pack, pack.add(make_params(), seed), make_params(), seed)
            pack.loss_factors = None if factor is None else torch.tensor([factor, 2 * factor])
            pack.accumulate(
                collate(make_split([4, 2], [16, 11]), [np.array([0, 1])] * 2, 16, base.device), [None] * 2
            )
            by = torch.ones(2, 1) if pack.loss_factors is None else pack.loss_factors[:, None]
            found[dtype, factor] = pack.grads / by
            pack.close()
    exact = found[torch.float32, None]
    assert torch.equal(found[torch.float32, 2.0**14], exact)

    def error(gradient: torch.Tensor) -> float:
        return float((gradient - exact).norm() / exact.norm())

    assert error(found[torch.float16, None]) > 4 * error(found[torch.float16, 2.0**14]) > 0
    assert error(found[torch.float16, 2.0**14]) < 0.02


def test_without_float16_a_checkpoint_says_nothing_of_a_scale(session: Session, tmp_path: Path) -> None:
    (left,) = run(session, [1], tmp_path)[1][-1:]
    with safetensors.safe_open(left.file, framework="pt") as opened:
        assert not [name for name in opened.metadata() if "scale" in name]
    assert session._pack.loss_factors is None


def test_an_overflow_leaves_out_one_step_of_one_trial(
    half: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = run(half, [1, 2, 3], tmp_path / "calm")
    with monkeypatch.context() as patched:
        overflowing(patched, half, 1, steps=(3,))
        hit = run(half, [1, 2, 3], tmp_path / "hit")
    for trial in (2, 3):
        assert [numbers(it) for it in hit[trial]] == [numbers(it) for it in calm[trial]]
    assert numbers(hit[1][0]) != numbers(calm[1][0])
    assert all(it.diverged is None and math.isfinite(it.grad_norm) for it in hit[1])
    assert scale_of(hit[1][-1].file) == LossScale(scale=2.0**15, good_steps=14)
    # As under Trainer, the schedule stands still while a step is left out.
    total = half.facts.budget.steps(PARAMS[1].batch_size)
    assert calm[1][-1].learning_rate == next_step(PARAMS[1], taken=total - 1, total=total).learning_rate
    assert hit[1][-1].learning_rate == next_step(PARAMS[1], taken=total - 2, total=total).learning_rate


def test_a_gradient_that_stays_infinite_ends_its_trial_once_the_scale_cannot_fall(
    half: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half.add(2, PARAMS[2], seed=0, attempt=1)
    half._slots[-1].scale = LossScale(scale=4.0)
    overflowing(monkeypatch, half, 2, steps=tuple(range(99)))
    result = step(half, tmp_path)[2]
    half.remove(2)
    assert result.diverged == "the gradient was no longer finite after 6 examples"


def test_a_trial_that_is_taken_up_again_has_its_scale(
    half: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        overflowing(patched, half, 2, steps=(0, 1, 9))
        whole = run(half, [2], tmp_path / "whole")[2]
    assert [scale_of(it.file).scale for it in whole[:3]] == [2.0**14, 2.0**14, 2.0**13]
    half.add(2, PARAMS[2], seed=0, attempt=1, resume_from=whole[2].file)
    for index in range(3, ROUNDS):
        assert numbers(step(half, tmp_path / "resumed")[2]) == numbers(whole[index])
        assert scale_of(whole[index].file).scale == 2.0**13
    half.remove(2)
