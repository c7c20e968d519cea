"""What is measured as a session is made ready."""

from __future__ import annotations

from pathlib import Path

from loratune.objectives.training.preparation import prepare
from trained_trials import make_config


def test_the_base_models_losses_are_those_of_adapters_that_add_nothing_to_the_last_bit(
    tiny_model: Path, tiny_data: Path
) -> None:
    prepared = prepare(make_config(tiny_model, tiny_data, lora_targets=("all",), slots=2))
    try:
        prepared.pack.fill()
        final = prepared.eval_sets[prepared.facts.budget.final_eval_examples]
        losses, _ = final.losses_and_correct(prepared.pack, slice(0, 2))
    finally:
        prepared.pack.close()
    assert prepared.facts.base_losses == tuple(losses[0].tolist()) == tuple(losses[1].tolist())
    assert len(set(prepared.facts.base_losses)) > 1
