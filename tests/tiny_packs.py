"""What tests of the pack share: a tiny base model, its geometry, made-up examples and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from loratune.objectives.data.dataset import Split
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.targets import resolve_targets
from loratune.spaces.params import LoraParams
from loratune.study.facts import Geometry
from transformers import LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)
VOCAB = 64


SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
"""Of a tiny decoder, as Transformers' configurations name it."""


def make_base(seed: int = 0, **changes: int) -> BaseModel:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**{**SHAPE, **changes}))
    return hold(model, torch.device("cpu"), torch.float32, name_or_path="tiny")


BASE = make_base()


def make_geometry(base: BaseModel = BASE, rank_max: int = 8) -> Geometry:
    return Geometry(
        rank_max=rank_max,
        micro_step_lengths=(16,),
        eval_rows=2,
        targets=resolve_targets(base.model, ["all"]),
        dtype="float32",
        attn_implementation="sdpa",
        gradient_checkpointing=False,
    )


def make_split(targets: Sequence[int], lengths: Sequence[int], seed: int = 0) -> Split:
    """Random examples; the last ``targets[i]`` tokens of each are supervised."""
    generator = np.random.default_rng(seed)
    total = sum(lengths)
    target = np.zeros(total, dtype=bool)
    ends = np.cumsum(lengths)
    for end, count in zip(ends, targets, strict=True):
        target[end - count : end] = True
    return Split(
        tokens=generator.integers(1, VOCAB, total).astype(np.int32),
        offsets=np.concatenate([[0], ends]).astype(np.int64),
        target=target,
    )


def make_params(**changes: object) -> LoraParams:
    values = {"learning_rate": 1e-2, "batch_size": 4, "lora_rank": 4, "lora_alpha": 8.0}
    return LoraParams.from_dict({**values, **changes})


def shake(pack: Pack, row: int, params: LoraParams, seed: int = 5) -> None:
    """Give B values, so that the adapter does something."""
    generator = torch.Generator().manual_seed(seed)
    for layer in pack.layout.live(params):
        b = pack.layout.b(pack.params[row], layer)
        b[:, : params.lora_rank] = torch.randn(b[:, : params.lora_rank].shape, generator=generator) * 0.1
