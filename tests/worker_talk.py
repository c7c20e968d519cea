"""What tests of workers share: a study to serve, a trial to train, and waiting for what a worker says."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from loratune.objectives.base import (
    Done,
    RoundProgress,
    Worker,
    WorkerEvent,
)
from loratune.spaces.params import LoraParams
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

Make = Callable[[], Worker]


def config(model: str = "tiny") -> ObjectiveConfig:
    return ObjectiveConfig(
        model=ModelConfig(name_or_path=model),
        data=DataConfig(train="train.jsonl"),
        batch_sizes=(4, 8),
        lora_ranks=(2, 8),
        lora_targets=("all",),
        slots=4,
    )


def params(learning_rate: float = 1e-2) -> LoraParams:
    return LoraParams(learning_rate=learning_rate, batch_size=8, lora_rank=4, lora_alpha=8.0)


def next_event(worker: Worker) -> WorkerEvent:
    """Return the next event, whatever it is."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        event = worker.poll(1.0)
        if event is not None:
            return event
    raise AssertionError("a minute without news")


def train_round(worker: Worker, folder: Path) -> Done:
    """Train a round."""
    worker.start(folder)
    event = next_event(worker)
    while isinstance(event, RoundProgress):
        event = next_event(worker)
    assert isinstance(event, Done), event
    return event


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
