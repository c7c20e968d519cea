"""The demo is worth a search: its learning rate decides, and the best one lies inside the range."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from loratune.demo import data_path, model_path
from loratune.objectives.base import Done
from loratune.objectives.training.session import Session
from loratune.spaces.presets import preset
from loratune.study.budget import ROUNDS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig


def test_the_middle_of_the_range_beats_both_edges_by_far(tmp_path: Path) -> None:
    tiny = preset("tiny")
    low, high = tiny.space["learning_rate"].bounds
    session = Session(
        ObjectiveConfig(
            model=ModelConfig(name_or_path=str(model_path()), device="cpu"),
            data=DataConfig(train=str(data_path())),
            batch_sizes=tiny.space.batch_sizes(),
            lora_ranks=tiny.space.lora_ranks(),
            lora_targets=tiny.space.lora_targets(),
            examples=256,
            eval_examples=64,
            slots=3,
        )
    )
    for trial, rate in enumerate((low, (low * high) ** 0.5, high)):
        params = dataclasses.replace(tiny.default, learning_rate=float(rate))
        session.add(trial, params, seed=0, attempt=1)
    for _ in range(ROUNDS):
        *_, done = session.train_round(tmp_path)
    assert isinstance(done, Done)
    session.close()
    tokens = sum(session.facts.eval_tokens)
    lowest, middle, highest = (sum(result.eval_losses or ()) / tokens for result in done.results)
    assert middle < session.facts.base_loss - 3
    assert middle < lowest - 1
    assert middle < highest - 1
