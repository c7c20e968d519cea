"""What tests of whole trials share: three configurations, and how they are run and compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import safetensors.torch
from loratune.objectives.base import Done, SlotResult
from loratune.objectives.training.session import Session
from loratune.spaces.params import LoraParams
from loratune.study.budget import ROUNDS
from loratune.study.checkpoint_format import checkpoint_name
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

PARAMS = {
    1: LoraParams(learning_rate=3e-3, batch_size=4, lora_rank=4, lora_alpha=8),
    2: LoraParams(
        learning_rate=2e-2, batch_size=2, lora_rank=1, lora_alpha=2, warmup_ratio=0.2, lora_dropout=0.1
    ),
    3: LoraParams(
        learning_rate=1e-2,
        batch_size=4,
        lora_rank=8,
        lora_alpha=4,
        weight_decay=0.1,
        lora_target="q_proj,down_proj",
        lr_scheduler_type="linear",
    ),
}


def make_config(model: Path, file: Path, **changes: object) -> ObjectiveConfig:
    values = {
        "model": ModelConfig(name_or_path=str(model), device="cpu"),
        "data": DataConfig(train=str(file), cutoff_len=64),
        "batch_sizes": (2, 4),
        "lora_ranks": (1, 8),
        "lora_targets": ("all", "q_proj,down_proj"),
        "examples": 64,
        "eval_examples": 16,
        "slots": 3,
    }
    return ObjectiveConfig(**{**values, **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Left(SlotResult):
    """What a trial did in a round, and the file that it left."""

    file: Path

    @classmethod
    def of(cls, done: Done, folder: Path, attempt: int) -> dict[int, Left]:
        return {
            it.trial: cls(**vars(it), file=folder / checkpoint_name(it.trial, it.round, attempt))
            for it in done.results
        }


def step(session: Session, folder: Path, attempt: int = 1) -> dict[int, Left]:
    *_, done = session.train_round(folder)
    assert isinstance(done, Done)
    return Left.of(done, folder, attempt)


def run(session: Session, trials: list[int], folder: Path) -> dict[int, list[Left]]:
    for trial in trials:
        session.add(trial, PARAMS[trial], seed=0, attempt=1)
    results: dict[int, list[Left]] = {trial: [] for trial in trials}
    for _ in range(ROUNDS):
        for trial, result in step(session, folder).items():
            results[trial].append(result)
    for trial in trials:
        session.remove(trial)
    return results


def numbers(result: Left) -> tuple[object, ...]:
    """What must be equal to the bit, whatever happened around the trial: its losses and its whole row."""
    row = safetensors.torch.load_file(result.file)
    state = tuple((name, row[name].numpy().tobytes()) for name in sorted(row))
    return (result.round, result.examples, result.train_loss, result.eval_losses, result.grad_norm, state)
