"""What is measured as a session is made ready."""

from __future__ import annotations

import json
from pathlib import Path

from loratune.objectives.training.preparation import prepare
from loratune.objectives.training.rng import derive_seed, permutation
from loratune.study.config import DataConfig
from loratune.study.stage import SEEDS_COVERED
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


def test_speed_is_measured_on_examples_of_the_studys_own_seed(tiny_model: Path, tmp_path: Path) -> None:
    # The one long example is the first that seed 0 reads, and no trial of the study reads it.
    count, read = 100, 16

    def order(seed: int) -> list[int]:
        return permutation(count, derive_seed("epoch", seed, 0)).tolist()

    long = order(0)[0]
    seed = next(
        first
        for first in range(1, 10_000)
        if all(order(first + offset).index(long) >= read for offset in range(SEEDS_COVERED))
    )
    files = {"train": count, "validation": 16, "test": 16}
    for name, records in files.items():
        texts = [{"instruction": name, "output": f"b{number}"} for number in range(records)]
        texts[long if name == "train" else 0]["output"] = "b " * 40
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in texts))
    data = DataConfig(**{name: str(tmp_path / f"{name}.jsonl") for name in files}, cutoff_len=64)
    prepared = prepare(
        make_config(
            tiny_model,
            tmp_path,
            data=data,
            batch_sizes=(2,),
            examples=read,
            slots=2,
            seed=seed,
            even_lengths=False,
        )
    )
    prepared.pack.close()
    assert max(prepared.facts.geometry.micro_step_lengths) < max(prepared.data.train.lengths)
    assert prepared.facts.rows_per_second > 0
