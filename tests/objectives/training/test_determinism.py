"""Deterministic sums are switched on where a GPU trains, and change nothing on a CPU."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from loratune.objectives.base import Done
from loratune.objectives.training.determinism import compute_deterministically
from loratune.objectives.training.session import Session
from loratune.spaces.params import LoraParams
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    cudnn, before = torch.backends.cudnn, os.environ.pop(WORKSPACE, None)
    switches = cudnn.benchmark, cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)
    cudnn.benchmark, cudnn.deterministic, torch.utils.deterministic.fill_uninitialized_memory = switches
    os.environ.pop(WORKSPACE, None)
    if before is not None:
        os.environ[WORKSPACE] = before


def test_a_gpu_is_told_to_add_up_in_one_order() -> None:
    torch.backends.cudnn.benchmark = True
    compute_deterministically(torch.device("cuda", 0))
    assert torch.are_deterministic_algorithms_enabled()
    # Warnings alone would leave attention's backward pass as it is.
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ[WORKSPACE] == ":4096:8"


@pytest.mark.parametrize(("own", "kept"), [(":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_a_workspace_of_the_users_stays_where_it_repeats_itself(
    own: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE, own)
    compute_deterministically(torch.device("cuda", 0))
    assert os.environ[WORKSPACE] == kept


def test_a_cpu_is_left_as_it_is() -> None:
    compute_deterministically(torch.device("cpu"))
    assert not torch.are_deterministic_algorithms_enabled()
    assert WORKSPACE not in os.environ


def test_the_flag_changes_no_loss_on_a_cpu(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    plain = ObjectiveConfig(
        model=ModelConfig(name_or_path=str(tiny_model), device="cpu"),
        data=DataConfig(train=str(tiny_data), cutoff_len=64),
        batch_sizes=(2, 4),
        lora_ranks=(4,),
        lora_targets=("all",),
        examples=64,
        eval_examples=16,
        slots=1,
    )
    params = LoraParams(learning_rate=3e-3, batch_size=4, lora_rank=4, lora_alpha=8, lora_dropout=0.1)
    results = []
    for config in (plain, dataclasses.replace(plain, deterministic=True)):
        session = Session(config)
        session.add(1, params, seed=0, attempt=1)
        results += [event.results[0] for event in session.train_round(tmp_path) if isinstance(event, Done)]
        session.close()
    one, other = results
    assert one.train_loss == other.train_loss
    assert one.eval_losses == other.eval_losses


def test_it_reaches_the_session_before_anything_touches_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class ReachedError(Exception):
        pass

    def reached(device: torch.device) -> None:
        raise ReachedError(str(device))

    monkeypatch.setattr("loratune.objectives.training.preparation.compute_deterministically", reached)
    config = ObjectiveConfig(
        model=ModelConfig(name_or_path="nowhere", device="cpu"),
        data=DataConfig(train="nothing.jsonl"),
        batch_sizes=(4,),
        lora_ranks=(4,),
        lora_targets=("all",),
        deterministic=True,
    )
    with pytest.raises(ReachedError, match="cpu"):
        Session(config)
