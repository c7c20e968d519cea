"""The reference is Trainer: the same examples in the same order, step by step."""

from __future__ import annotations

import copy
import dataclasses
import math
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from loratune.objectives.testing.reference import IGNORED, Reference
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.rng import initial_a
from loratune.objectives.training.stream import Stream, micro_step_lengths
from loratune.objectives.training.targets import resolve_targets
from loratune.spaces.params import LoraParams
from loratune.study.budget import ROUNDS, Budget
from loratune.study.facts import Geometry
from peft.optimizers import create_loraplus_optimizer

BUDGET = Budget(
    micro_batch=2, round_examples=8, batch_sizes=(2, 4, 8), eval_examples=1, final_eval_examples=1
)
SEED = 5
PLAIN = LoraParams(learning_rate=2e-3, batch_size=4, lora_rank=4, lora_alpha=8.0, warmup_ratio=0.15)
TRIALS = {
    "cosine": PLAIN,
    "linear, no warm-up": dataclasses.replace(
        PLAIN, lr_scheduler_type="linear", warmup_ratio=0.0, batch_size=8, lora_rank=8
    ),
    "constant, decay, rslora": dataclasses.replace(
        PLAIN, lr_scheduler_type="constant_with_warmup", weight_decay=0.2, batch_size=2, use_rslora=True
    ),
    "loraplus, two targets": dataclasses.replace(
        PLAIN, loraplus_lr_ratio=8.0, lora_target="q_proj,down_proj", weight_decay=0.1
    ),
}


class Watched(transformers.Trainer):
    """Trainer in the data set's own order, with its numbers unrounded."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.losses, self.rates = [0.0], []
        self.add_callback(AtEachStep(self))

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses[-1] += float(loss)
        return loss

    @property
    def norms(self) -> list[float]:
        return [float(line["grad_norm"]) for line in self.state.log_history if "grad_norm" in line]


class AtEachStep(transformers.TrainerCallback):
    """Notes the rate of a step before it is taken, and opens the sum of the next one's loss."""

    def __init__(self, trainer: Watched) -> None:
        self._trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._trainer.rates.append(float(kwargs["optimizer"].param_groups[0]["lr"]))
        self._trainer.losses.append(0.0)


def make_base() -> BaseModel:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.15,
    )
    model = transformers.LlamaForCausalLM(config)
    return hold(model, torch.device("cpu"), torch.float32, name_or_path="tiny")


def collate(examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest, with an attention mask, as Transformers' collators do."""
    length = max(len(example["input_ids"]) for example in examples)

    def padded(key: str, filler: int) -> torch.Tensor:
        return torch.tensor([row[key] + [filler] * (length - len(row[key])) for row in examples])

    mask = [{"mask": [1] * len(row["input_ids"])} for row in examples]
    width = torch.tensor([row["mask"] + [0] * (length - len(row["mask"])) for row in mask])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED), "attention_mask": width}


def train_by_trainer(
    base: BaseModel, data: Any, params: LoraParams, folder: Path, max_grad_norm: float
) -> tuple[Watched, dict[str, torch.Tensor]]:
    """Run Trainer over the stream's examples; return it and the adapter's final weights."""
    stream = Stream(data.train.lengths, BUDGET, SEED)
    rows = []
    for index in (int(i) for q in range(ROUNDS) for i in stream.round(q).reshape(-1)):
        tokens, target = data.train.example(index)
        labels = [int(t) if kept else IGNORED for t, kept in zip(tokens, target, strict=True)]
        rows.append({"input_ids": tokens.tolist(), "labels": labels})
    names = "all-linear" if params.lora_target == "all" else list(params.target_names)
    config = peft.LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        use_rslora=params.use_rslora,
        target_modules=names,
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = peft.get_peft_model(copy.deepcopy(base.model), config)
    prefix, suffix = "base_model.model.", ".default.weight"
    weights = {
        name.removeprefix(prefix).removesuffix(suffix): weight
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    with torch.no_grad():
        for name, weight in weights.items():
            if name.endswith(".lora_A"):
                weight.copy_(initial_a(SEED, name.removesuffix(".lora_A"), *weight.shape))
    optimizer = None
    if params.loraplus_lr_ratio != 1:
        optimizer = create_loraplus_optimizer(
            model,
            torch.optim.AdamW,
            lr=params.learning_rate,
            loraplus_lr_ratio=params.loraplus_lr_ratio,
            loraplus_weight_decay=params.weight_decay,
        )
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BUDGET.micro_batch,
        gradient_accumulation_steps=params.batch_size // BUDGET.micro_batch,
        num_train_epochs=1,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.lr_scheduler_type,
        warmup_steps=params.warmup_ratio,
        weight_decay=params.weight_decay,
        max_grad_norm=max_grad_norm,
        optim="adamw_torch",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
        dataloader_pin_memory=False,
    )
    trainer = Watched(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=collate,
        optimizers=(optimizer, None),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer.train()
    return trainer, {name: weight.detach() for name, weight in weights.items()}


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.05], ids=["", "clipped"])
@pytest.mark.parametrize("label", TRIALS)
def test_the_reference_takes_trainers_steps(
    label: str, max_grad_norm: float, random_data: Any, tmp_path: Path
) -> None:
    params, base = TRIALS[label], make_base()
    data = random_data(train=61, validation=1, vocab=96)
    theirs, weights = train_by_trainer(base, data, params, tmp_path, max_grad_norm)
    geometry = Geometry(
        rank_max=8,
        micro_step_lengths=micro_step_lengths(data.train.lengths, BUDGET, SEED),
        eval_rows=1,
        targets=resolve_targets(base.model, ["all"]),
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
    )
    reference = Reference(
        base, data, params, seed=SEED, budget=BUDGET, geometry=geometry, max_grad_norm=max_grad_norm
    )
    steps = BUDGET.steps(params.batch_size)
    assert len(theirs.rates) == len(theirs.norms) == steps
    for number in range(steps):
        own = reference.step()
        assert own.learning_rate == pytest.approx(theirs.rates[number], rel=1e-12, abs=0), number
        assert sum(own.losses) / own.target_tokens == pytest.approx(theirs.losses[number], rel=1e-5), number
        assert own.norm == pytest.approx(theirs.norms[number], rel=1e-4), number
    state = reference.state()
    assert {f"params/{name}" for name in weights} == {name for name in state if name.startswith("params/")}
    moved = math.hypot(*(float(weight.norm()) for name, weight in weights.items() if "lora_B" in name))
    error = math.hypot(
        *(float((state[f"params/{name}"] - weight).norm()) for name, weight in weights.items())
    )
    assert moved > 0
    assert error < 1e-4 * moved
