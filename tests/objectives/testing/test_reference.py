"""The reference: one trial by plain PEFT, which can be set to any state of a trial."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import transformers
from loratune.objectives.testing.reference import IGNORED, Reference, run_reference
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.rng import initial_a
from loratune.objectives.training.stream import micro_step_lengths
from loratune.objectives.training.targets import resolve_targets
from loratune.spaces.params import LoraParams
from loratune.study.budget import RUNGS, Budget
from loratune.study.facts import Geometry

BUDGET = Budget(
    micro_batch=2, round_examples=8, batch_sizes=(2, 4, 8), eval_examples=3, final_eval_examples=7
)
SEED = 11
PARAMS = LoraParams(
    learning_rate=5e-3,
    batch_size=4,
    lora_rank=4,
    lora_alpha=8.0,
    lora_dropout=0.3,
    weight_decay=0.1,
    warmup_ratio=0.3,
)


@pytest.fixture(name="base", scope="module")
def make_base() -> BaseModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=48,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    model = transformers.LlamaForCausalLM(config)
    return hold(model, torch.device("cpu"), torch.float32, name_or_path="tiny")


@pytest.fixture(name="given")
def make_given(base: BaseModel, random_data: Any) -> dict[str, Any]:
    data = random_data(train=37, validation=7, vocab=48)
    geometry = Geometry(
        rank_max=8,
        micro_step_lengths=micro_step_lengths(data.train.lengths, BUDGET, SEED),
        eval_rows=2,
        targets=resolve_targets(base.model, ["all"]),
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
    )
    return {"base": base, "data": data, "seed": SEED, "budget": BUDGET, "geometry": geometry}


def test_it_starts_as_the_base_model(base: BaseModel, given: dict[str, Any]) -> None:
    reference = Reference(params=PARAMS, **given)
    split = given["data"].validation
    for index, loss in enumerate(reference.evaluate(BUDGET.final_eval_examples).tolist()):
        tokens, target = (torch.from_numpy(part.copy()).long() for part in split.example(index))
        labels = tokens.masked_fill(target == 0, IGNORED)
        mean = base.model(input_ids=tokens[None], labels=labels[None]).loss
        assert loss == pytest.approx(float(mean) * int(target.sum()), rel=1e-5)


def test_it_starts_from_the_initial_a_of_the_seed(given: dict[str, Any]) -> None:
    state = Reference(params=PARAMS, **given).state()
    layer = "model.layers.1.mlp.up_proj"
    assert torch.equal(state[f"params/{layer}.lora_A"], initial_a(SEED, layer, 4, 16))
    assert not state[f"params/{layer}.lora_B"].any()
    assert not any(tensor.any() for name, tensor in state.items() if not name.startswith("params/"))


def test_it_leaves_the_base_model_as_it_was(base: BaseModel, given: dict[str, Any]) -> None:
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    Reference(params=PARAMS, **given).train_round()
    after = base.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(weight.requires_grad for weight in base.model.parameters())


def test_a_trial_set_to_a_saved_state_goes_on_with_the_same_numbers(given: dict[str, Any]) -> None:
    whole = Reference(params=PARAMS, **given)
    for _ in range(3):
        whole.train_round()
    resumed = Reference(params=PARAMS, **given)
    resumed.load(whole.state(), rounds=3)
    assert resumed.rounds == 3
    for _ in range(2):
        expected, step = whole.step(), resumed.step()
        assert step.losses == expected.losses
        assert step.learning_rate == expected.learning_rate
        assert all(torch.equal(step.update[name], update) for name, update in expected.update.items())


def test_dropout_changes_training_and_never_evaluation(given: dict[str, Any]) -> None:
    dropped = Reference(params=PARAMS, **given)
    plain = Reference(params=dataclasses.replace(PARAMS, lora_dropout=0.0), **given)
    dropped.train_round()
    plain.load(dropped.state(), rounds=1)
    assert torch.equal(dropped.evaluate(7), plain.evaluate(7))
    assert dropped.step().losses != plain.step().losses


def test_clipping_bounds_the_gradient_and_tells_its_norm(given: dict[str, Any]) -> None:
    free = Reference(params=PARAMS, max_grad_norm=1e9, **given).step()
    clipped = Reference(params=PARAMS, max_grad_norm=0.01, **given).step()

    def size(gradient: dict[str, torch.Tensor]) -> float:
        return float(torch.cat([part.flatten() for part in gradient.values()]).norm())

    assert free.norm == pytest.approx(clipped.norm) == pytest.approx(size(free.gradient))
    assert size(clipped.gradient) == pytest.approx(0.01, rel=1e-3)


def test_the_first_step_under_warm_up_moves_nothing(given: dict[str, Any]) -> None:
    step = Reference(params=PARAMS, **given).step()
    assert step.learning_rate == 0.0
    assert not any(update.any() for update in step.update.values())


def test_a_whole_trial_is_evaluated_at_every_rung_and_learns(given: dict[str, Any]) -> None:
    params = dataclasses.replace(PARAMS, lora_dropout=0.0, warmup_ratio=0.0, learning_rate=1e-2)
    run = run_reference(params=params, **given)
    assert len(run.train_losses) == 8
    assert {rung: len(losses) for rung, losses in run.eval_losses.items()} == {
        rung: BUDGET.eval_size(rung) for rung in RUNGS
    }
    assert run.train_losses[-1] < run.train_losses[0]


def test_a_trial_trains_its_own_targets_alone(given: dict[str, Any]) -> None:
    params = dataclasses.replace(PARAMS, lora_target="q_proj,down_proj")
    names = [name for name in Reference(params=params, **given).state() if name.startswith("params/")]
    assert {name.split(".")[-2] for name in names} == {"q_proj", "down_proj"}
    assert len(names) == 2 * 2 * 2  # layers, targets, A and B
