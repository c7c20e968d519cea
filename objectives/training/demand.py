"""What a study's training takes on its base model: shapes looked up for ``objectives/memory.py``.

Looks at the model and the data; allocates nothing and knows nothing of devices' memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from ...study.budget import Budget
from ...study.facts import Geometry
from ...study.memory import MemoryParts, MethodMemory
from .. import memory
from ..data.dataset import Split, TokenizedData
from ..methods import methods
from .attention import head_shape, keeps_scores
from .groups import at_once
from .head import chunk_rows, in_few_passes
from .model import BaseModel
from .norms import all_fused
from .quantized import weight_bytes
from .stream import padded_length
from .targets import features


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked of the memory, whatever the number of trials."""

    shape: memory.ModelShape
    """The base model."""
    load: memory.Load
    """One trial, alone."""
    weights: int
    """Bytes of the base model as it is held."""
    parameters: int
    """Numbers in one adapter (P)."""
    chunk: int
    """Most positions that go through the head at once."""
    positions: int
    """Most positions of one trial's micro-step that do."""
    slack: float
    """Share of what comes and goes that the allocator keeps beside it."""
    heads_together: bool
    """Whether all trials of a pass go through the head together, as on a GPU."""

    @property
    def tokens(self) -> int:
        """Tokens of one trial in its longest micro-step, padding included."""
        return self.load.rows * self.load.length

    def parts(self, *, slots: int, pass_tokens: int, context: int = 0) -> MemoryParts:
        """Return what memory goes to with so many trials, so many tokens of them at once; 0: all."""
        together = at_once(slots, self.tokens, pass_tokens)
        positions = self.positions * (together if self.heads_together else 1)
        load = dataclasses.replace(
            self.load,
            slots=slots,
            together=together,
            evaluated=at_once(slots, self.load.eval_rows * self.load.eval_length, pass_tokens),
            head_positions=min(self.chunk, positions),
        )
        return memory.predict(
            self.shape,
            load,
            weights=self.weights,
            parameters=self.parameters,
            context=context,
            slack=self.slack,
        )


def ways_to_train(base: BaseModel, demand: Demand, *, context: int) -> tuple[MethodMemory, ...]:
    """Return what other ways to train the base model would take, on the same data."""
    load = dataclasses.replace(demand.load, head_positions=min(demand.chunk, demand.positions))
    config = base.model.config.get_text_config()
    return methods(
        demand.shape,
        load,
        numbers=base.summary.parameters,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        parameters=demand.parameters,
        context=context,
        slack=demand.slack,
        plain_scores=keeps_scores(config, base.device, torch.float32),
        plain_positions=demand.positions,
    )


def demand_of(
    base: BaseModel, geometry: Geometry, budget: Budget, data: TokenizedData, *, dropout: bool
) -> Demand:
    """Return what a study asks of the memory; ``dropout``: whether a trial of it may use dropout."""
    config = base.model.config.get_text_config()
    shape = shape_of(base)
    wrapped = [features(base.model.get_submodule(name)) for name in geometry.targets]
    size = max(budget.eval_examples, budget.final_eval_examples)
    load = memory.Load(
        slots=1,
        together=1,
        rows=budget.micro_batch,
        length=max(geometry.micro_step_lengths),
        rank=geometry.rank_max,
        targets_per_layer=-(-len(wrapped) // shape.layers),
        inputs=_inputs(dict(zip(geometry.targets, wrapped, strict=True)), dropout=dropout) // shape.layers,
        dropout=dropout,
        eager=geometry.attn_implementation == "eager" or keeps_scores(config, base.device, base.dtype),
        checkpointing=geometry.gradient_checkpointing,
        eval_rows=geometry.eval_rows,
        eval_length=padded_length(int(max(data.validation.lengths[:size]))),
    )
    return Demand(
        shape=shape,
        load=load,
        weights=weight_bytes(base.model),
        parameters=memory.row_parameters(wrapped, geometry.rank_max),
        chunk=chunk_rows(shape.vocab_size, base.device),
        positions=_most_positions(data.train, budget.micro_batch),
        # Where activations are recomputed, freed memory is handed back at once.
        slack=0.0 if base.device.type == "cuda" or geometry.gradient_checkpointing else memory.CPU_SLACK,
        heads_together=base.device.type == "cuda",
    )


def shape_of(base: BaseModel) -> memory.ModelShape:
    """Return what of a base model sets the size of its activations."""
    config = base.model.config.get_text_config()
    heads, groups, size = head_shape(config)
    names = {name.rpartition(".")[2] for name, _ in base.model.named_modules()}
    window, windowed = _windows(config)
    return memory.ModelShape(
        hidden_size=config.hidden_size,
        intermediate_size=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        vocab_size=base.summary.vocab_size,
        dtype_bytes=base.dtype.itemsize,
        query_size=heads * size,
        key_size=groups * size,
        gated=any("gate" in name for name in names),
        normed_heads="q_norm" in names,
        window=window,
        windowed_layers=windowed,
        fused_norms=all_fused(base.model),
        fused_loss=in_few_passes(base.device),
    )


def _inputs(wrapped: dict[str, tuple[int, int]], *, dropout: bool) -> int:
    """Return the features of the inputs that are kept for layers with these features in and out.

    Layers beside each other read the same, but for attention's last, whose input attention itself keeps.
    Dropout makes a copy for each.
    """
    if dropout:
        return sum(inputs for inputs, _ in wrapped.values())
    parts = {name: name.rpartition(".") for name in wrapped}
    shared = {
        (parts[name][0], inputs)
        for name, (inputs, _) in wrapped.items()
        if parts[name][2] not in ("o_proj", "out_proj")
    }
    return sum(inputs for _, inputs in shared)


def _windows(config: Any) -> tuple[int, int]:
    """Return the width of a sliding window and how many blocks have one; twice 0 where none has."""
    window = getattr(config, "sliding_window", None)
    if not window or getattr(config, "use_sliding_window", True) is False:
        return 0, 0
    kinds: Sequence[str] | None = getattr(config, "layer_types", None)
    if kinds is None:
        return int(window), int(config.num_hidden_layers)
    return int(window), sum(kind == "sliding_attention" for kind in kinds)


def _most_positions(split: Split, rows: int) -> int:
    """Return the most positions that a loss is taken on in ``rows`` examples."""
    counts = torch.as_tensor(split.target_tokens)
    return int(counts.topk(min(rows, len(counts))).values.sum())
