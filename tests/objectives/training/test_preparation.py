"""What is measured as a session is made ready."""

from __future__ import annotations

from pathlib import Path

from loratune.objectives.training.preparation import prepare
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig


def test_the_base_models_losses_are_those_of_adapters_that_add_nothing_to_the_last_bit(
    tiny_model: Path, tiny_data: Path
) -> None:
    prepared = prepare(
        ObjectiveConfig(
            model=ModelConfig(name_or_path=str(tiny_model), device="cpu"),
            data=DataConfig(train=str(tiny_data), cutoff_len=64),
            batch_sizes=(2, 4),
            lora_ranks=(1, 8),
            lora_targets=("all",),
            examples=64,
            eval_examples=16,
            slots=2,
        )
    )
    try:
        prepared.pack.fill()
        final = prepared.eval_sets[prepared.facts.budget.final_eval_examples]
        losses, _ = final.losses_and_correct(prepared.pack, slice(0, 2))
    finally:
        prepared.pack.close()
    assert prepared.facts.base_losses == tuple(losses[0].tolist()) == tuple(losses[1].tolist())
    assert len(set(prepared.facts.base_losses)) > 1
