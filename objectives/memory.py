"""How much memory one slot of the pack takes, estimated from shapes alone.

Pure arithmetic on a decoder of ordinary build (pre-norm, gated MLP, as Llama is). Left out: the
allocator's slack, the base model's own weights and buffers (they are there once per worker), the
head's chunk of logits (once per worker, ``head_bytes``), and whatever a library keeps for itself.
``slots_that_fit`` therefore leaves a share of the memory free. Knows nothing of models or devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

FLOAT32 = 4
"""Bytes of the numbers in an adapter's row."""

ROW_COPIES = 4
"""Parameters, gradients and Adam's two moments."""

FREE_SHARE = 0.1
"""Share of the available memory that is left free."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What of a decoder sets the size of its activations."""

    hidden_size: int
    """Width of the residual stream."""
    intermediate_size: int
    """Width of the MLP."""
    layers: int
    """Number of blocks."""
    heads: int
    """Query heads of one block."""
    vocab_size: int
    """Width of the logits."""
    dtype_bytes: int
    """Bytes of a number of the base model: 4 for float32, 2 for bfloat16."""


def row_parameters(shapes: Sequence[tuple[int, int]], rank_max: int) -> int:
    """Return P, the numbers in one adapter: ``rank_max * (in + out)`` for each wrapped layer's shape.

    >>> row_parameters([(64, 64), (64, 172)], 8)
    2912
    """
    return sum(rank_max * (inputs + outputs) for inputs, outputs in shapes)


def row_bytes(parameters: int) -> int:
    """Return the bytes of one trial's training state: 4 numbers of 4 bytes per parameter."""
    return ROW_COPIES * FLOAT32 * parameters


def layer_bytes(
    shape: ModelShape, length: int, *, rank_max: int, targets_per_layer: int, dropout: bool, eager: bool
) -> int:
    """Return the bytes that one block keeps for the backward pass of one example of ``length`` tokens.

    After the count of Korthikanti et al. (2022), section 4.1, redone for a gated MLP over frozen
    weights: per token the two norms' inputs in float32 (2h) and outputs (2h), queries, keys and
    values before and after the rotation (5h, as if no heads were shared), attention's output (h),
    the MLP's gate, up, activated gate and product (4i), and for every wrapped layer its product
    with A (``rank_max``). Dropout keeps a copy of every wrapped layer's input, eager attention the
    scores before and after the softmax.
    """
    hidden, inner, width = shape.hidden_size, shape.intermediate_size, shape.dtype_bytes
    per_token = FLOAT32 * 2 * hidden + width * (8 * hidden + 4 * inner)
    per_token += width * rank_max * targets_per_layer
    if dropout:
        # All inputs are as wide as the residual stream but one, the MLP's last, which is as wide as the MLP.
        per_token += width * (max(0, targets_per_layer - 1) * hidden + inner)
    if eager:
        per_token += (FLOAT32 + width) * shape.heads * length
    return per_token * length


def activation_bytes(
    shape: ModelShape,
    length: int,
    *,
    rows: int,
    rank_max: int,
    targets_per_layer: int = 7,
    checkpointing: bool = False,
    dropout: bool = False,
    eager: bool = False,
) -> int:
    """Return the bytes of a slot's activations at their height, in the backward pass of one micro-step.

    Args:
        shape: the base model.
        length: longest padded length in tokens.
        rows: examples of the slot in one micro-step (m).
        rank_max: rank of the packed adapters.
        targets_per_layer: wrapped linear layers in one block.
        checkpointing: only the blocks' inputs are kept, and one block is computed again.
        dropout: whether a trial may use dropout.
        eager: whether attention keeps its scores.
    """
    layer = layer_bytes(
        shape, length, rank_max=rank_max, targets_per_layer=targets_per_layer, dropout=dropout, eager=eager
    )
    stream = shape.dtype_bytes * shape.hidden_size * length
    kept = shape.layers * stream + layer if checkpointing else shape.layers * layer
    # One more block's worth for the gradients on their way back; the stream, and its gradient, at the head.
    return rows * (kept + layer + 3 * stream)


def head_bytes(shape: ModelShape, positions: int) -> int:
    """Return the bytes of one chunk at the head: logits, their float32 copy, log-softmax, gradient.

    Trials pass the head one by one, so this is there once per worker.
    """
    return positions * shape.vocab_size * (shape.dtype_bytes + 3 * FLOAT32)


def slot_bytes(parameters: int, activations: int) -> int:
    """Return the bytes of one more slot: its row and its activations."""
    return row_bytes(parameters) + activations


def slots_that_fit(available: int, base: int, per_slot: int) -> int:
    """Return how many slots fit beside the base model, with a tenth of the memory left free.

    Args:
        available: bytes of the device that are free before the model is loaded.
        base: bytes that are there once per worker: the weights and the head's chunk.
        per_slot: bytes of one more slot.
    """
    room = int(available * (1 - FREE_SHARE)) - base
    return max(0, room // max(1, per_slot))
