"""What each way of training a model would take, one run of each: full, freeze, LoRA and QLoRA.

Pure arithmetic on what ``memory.py`` counts. Plain training (full, freeze) is reckoned as ours does it, in
float32. Knows nothing of models or devices.
"""

from __future__ import annotations

import dataclasses

from ..study.memory import MemoryParts, MethodMemory
from ..study.plain_method import FREEZE_LAYERS
from . import memory
from .quantization import nf4_bytes


def methods(
    shape: memory.ModelShape,
    load: memory.Load,
    *,
    numbers: int,
    tied: bool,
    parameters: int,
    context: int,
    slack: float = 0.0,
    plain_scores: bool = False,
    plain_positions: int = 0,
) -> tuple[MethodMemory, ...]:
    """Return what each method takes, the most demanding first.

    Args:
        shape: the base model.
        load: one trial, alone.
        numbers: weights of the base model.
        tied: whether its head is its embedding.
        parameters: P, the numbers in one adapter.
        context: bytes of libraries and of the process.
        slack: share of what comes and goes that the allocator keeps beside it.
        plain_scores: whether attention keeps its scores in float32, as plain training has it.
        plain_positions: positions whose loss plain training takes at once; 0: those of ``load``.
    """
    embedding = shape.vocab_size * shape.hidden_size
    # Embedding and head are never quantised, nor is there one in a layer.
    outside = min(numbers, embedding * (1 if tied else 2))
    inside = numbers - outside
    layers = min(FREEZE_LAYERS, shape.layers)

    def plain(trained: int, reaching: int) -> MemoryParts:
        # Below the first layer that is trained nothing is kept for a backward pass.
        # Its loss is left to autograd wherever it trains, over all positions at once.
        held = dataclasses.replace(shape, dtype_bytes=memory.FLOAT32, layers=reaching, fused_loss=False)
        weights = memory.FLOAT32 * numbers
        own = dataclasses.replace(
            load,
            eager=load.eager or plain_scores,
            head_positions=max(load.head_positions, plain_positions),
        )
        found = memory.predict_plain(held, own, weights=weights, trained=trained, context=context)
        # The optimizer goes through one tensor at a time, the largest of which is the embedding.
        found = dataclasses.replace(found, optimizer=memory.FLOAT32 * min(trained, embedding))
        return dataclasses.replace(found, slack=int(slack * found.height))

    def packed(weights: int) -> MemoryParts:
        return memory.predict(
            shape, load, weights=weights, parameters=parameters, context=context, slack=slack
        )

    frozen = shape.dtype_bytes * numbers
    quantized = nf4_bytes(inside) + shape.dtype_bytes * outside
    freeze = inside // max(1, shape.layers) * layers
    return (
        MethodMemory(name="full", trained=numbers, parts=plain(numbers, shape.layers)),
        MethodMemory(name="freeze", trained=freeze, parts=plain(freeze, layers)),
        MethodMemory(name="lora", trained=parameters, parts=packed(frozen)),
        MethodMemory(name="qlora", trained=parameters, parts=packed(quantized)),
    )
