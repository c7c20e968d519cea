"""How much memory training takes, predicted part by part from shapes alone.

Pure arithmetic on a decoder of ordinary build (pre-norm, as Llama is), counted tensor by tensor from what
autograd keeps of Transformers' layers and of the pack's own; ``benchmarks/memory.py`` holds it against what
processes were seen to take. Left out: what a GPU's allocator keeps beside tensors, for which ``HEADROOM``
leaves a share free, and experts, whose tokens nobody can tell beforehand. Knows nothing of models or devices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..study.memory import MemoryParts

FLOAT32 = 4
"""Bytes of the numbers in an adapter's row, and of those that are computed with more care."""

HEADROOM = 0.2
"""Share of the available memory that is left free: holes between tensors, and what is no tensor."""

CPU_SLACK = 0.5
"""On a CPU, what comes and goes takes so much more: glibc keeps freed blocks that lie between others.
Measured, 33 to 83 % over ten settings (docs/benchmarks.md)."""


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
    query_size: int = 0
    """Width of all query heads together; 0: that of the residual stream."""
    key_size: int = 0
    """Width of all key heads together, and of all value heads; 0: that of the queries."""
    gated: bool = True
    """Whether the MLP multiplies two branches, as SwiGLU does."""
    normed_heads: bool = False
    """Whether queries and keys are normalised, as Qwen3 does."""
    window: int = 0
    """Tokens that a block with a sliding window sees; 0: no block has one."""
    windowed_layers: int = 0
    """Blocks with a sliding window."""
    fused_norms: bool = False
    """Whether a norm is one operation, which keeps its input as it is rather than in float32."""
    fused_loss: bool = False
    """Whether the loss's derivative is written down, as on a GPU, rather than left to autograd."""

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.query_size or self.hidden_size

    @property
    def keys(self) -> int:
        """Width of all key heads together."""
        return self.key_size or self.queries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked of the memory: so many trials, of such a size."""

    slots: int
    """K: trials that a worker holds."""
    together: int
    """G: how many of them go through the base model at once."""
    rows: int
    """Examples of a trial in one micro-step (m)."""
    length: int
    """Longest padded length of a micro-step in tokens."""
    rank: int
    """Rank that adapters are held at."""
    targets_per_layer: int = 7
    """Adapted linear layers in one block."""
    inputs: int | None = None
    """Features of the adapted layers' inputs that one block keeps; None: where all its layers are adapted."""
    dropout: bool = False
    """Whether a trial may use dropout."""
    eager: bool = False
    """Whether attention keeps its scores."""
    checkpointing: bool = False
    """Whether only the blocks' inputs are kept, and one block is computed again."""
    head_positions: int = 0
    """Positions that go through the head at once."""
    eval_rows: int = 0
    """Examples of a trial in one pass of an evaluation."""
    eval_length: int = 0
    """Longest padded length of an evaluation in tokens."""
    evaluated: int = 1
    """Trials that are evaluated at once."""


def predict(
    shape: ModelShape, load: Load, *, weights: int, parameters: int, context: int = 0, slack: float = 0.0
) -> MemoryParts:
    """Return what a worker's memory goes to that trains LoRA in a pack.

    Args:
        shape: the base model.
        load: what is trained at once.
        weights: bytes of the base model as it is held; fewer than its numbers where it is quantized.
        parameters: P, the numbers in one adapter; see ``row_parameters``.
        context: bytes of libraries.
        slack: share of what comes and goes that the allocator keeps beside it.
    """
    numbers = FLOAT32 * parameters * load.slots
    examples = load.together * load.rows
    tokens = examples * load.length
    eval_tokens = load.evaluated * load.eval_rows * load.eval_length
    width = shape.dtype_bytes
    head = head_bytes(shape, load.head_positions)
    parts = MemoryParts(
        weights=weights,
        adapters=numbers,
        gradients=numbers,
        moments=2 * numbers,
        activations=examples * kept_bytes(shape, load),
        backward=tokens * backward_bytes(shape)
        + (examples * layer_bytes(shape, load) if load.checkpointing else 0),
        head=head + tokens * width * shape.hidden_size,
        evaluation=eval_tokens * forward_bytes(shape) + (head if load.eval_rows else 0),
        optimizer=numbers,
        context=context,
    )
    return dataclasses.replace(parts, slack=int(slack * parts.height))


def predict_plain(
    shape: ModelShape, load: Load, *, weights: int, trained: int, moment_bytes: int = 0, context: int = 0
) -> MemoryParts:
    """Return what memory goes to where the base model's own weights are trained, all or some, in one run.

    Args:
        shape: the base model.
        load: one trial; its rank, slots and adapted layers do not matter.
        weights: bytes of the base model.
        trained: how many of its numbers are trained.
        moment_bytes: bytes of a moment's number; 0: as the weights.
        context: bytes of libraries.
    """
    # Weights are trained by the inputs of all layers, whichever carry adapters.
    plain = dataclasses.replace(load, slots=0, together=1, rank=0, dropout=False, inputs=None)
    parts = predict(shape, plain, weights=weights, parameters=0, context=context)
    gradients = trained * shape.dtype_bytes
    moments = 2 * trained * (moment_bytes or shape.dtype_bytes)
    # The optimizer's temporary is as large as one moment.
    return dataclasses.replace(parts, gradients=gradients, moments=moments, optimizer=moments // 2)


def row_parameters(shapes: Sequence[tuple[int, int]], rank_max: int) -> int:
    """Return P, the numbers in one adapter: ``rank_max * (in + out)`` for each wrapped layer's shape.

    >>> row_parameters([(64, 64), (64, 172)], 8)
    2912
    """
    return sum(rank_max * (inputs + outputs) for inputs, outputs in shapes)


def layer_bytes(shape: ModelShape, load: Load) -> int:
    """Return the bytes that one block keeps for the backward pass of one example.

    After the count of Korthikanti et al. (2022), section 4.1, redone for frozen weights and counted on
    Transformers' own layers: per token both norms' inputs, in float32 unless fused; queries, keys, values and
    attention's output; the MLP's gate, its activation and up (without a gate, the activation's input); the
    inputs of the adapted layers, and for each its product with A (``rank``). Eager attention keeps its
    scores, a sliding window a mask, and both keep keys and values once for each query head.
    """
    hidden, width, queries, keys = shape.hidden_size, shape.dtype_bytes, shape.queries, shape.keys
    masked = 0 < shape.window <= load.length and shape.windowed_layers > 0
    normed = width if shape.fused_norms else FLOAT32
    per_token = 2 * normed * hidden + width * inputs_kept(shape, load)
    per_token += width * (2 * queries + 2 * (queries if load.eager or masked else keys))
    per_token += width * (3 if shape.gated else 1) * shape.intermediate_size
    per_token += width * load.rank * load.targets_per_layer
    # What both norms and attention keep of each token, a number each.
    per_token += FLOAT32 * (2 + shape.heads)
    if shape.normed_heads:
        per_token += normed * (queries + keys)
    if load.eager:
        per_token += (FLOAT32 if width == FLOAT32 else FLOAT32 + width) * shape.heads * load.length
    elif masked:
        per_token += width * load.length * shape.windowed_layers // max(1, shape.layers)
    return per_token * load.length


def inputs_kept(shape: ModelShape, load: Load) -> int:
    """Return the features of the adapted layers' inputs that one block keeps.

    Several layers read the output of one norm. Dropout makes a copy of it for each of them, and one of
    attention's output.
    """
    if load.inputs is not None:
        return load.inputs
    shared = 2 * shape.hidden_size + shape.intermediate_size
    return shared + 3 * shape.hidden_size + shape.queries if load.dropout else shared


def kept_bytes(shape: ModelShape, load: Load) -> int:
    """Return the bytes that one example's forward pass keeps for its backward pass."""
    one = layer_bytes(shape, load)
    stream = shape.dtype_bytes * shape.hidden_size * load.length
    masks = load.length**2 if 0 < shape.window <= load.length and shape.windowed_layers else 0
    # Past the blocks: the last norm's input and output.
    return (shape.layers * (stream if load.checkpointing else one)) + 2 * stream + masks


def backward_bytes(shape: ModelShape) -> int:
    """Return the bytes a token that a backward pass holds at its height, beside what the forward pass kept.

    In the MLP two gradients as wide as it, and the stream's; in a norm some as wide as the stream, more of
    them where it goes by float32.
    """
    width, hidden = shape.dtype_bytes, shape.hidden_size
    norm = (3 if shape.fused_norms else 6 if width == FLOAT32 else 11) * hidden
    return width * max(norm, 2 * shape.intermediate_size + hidden)


def forward_bytes(shape: ModelShape) -> int:
    """Return the bytes a token that a pass holds at its height which keeps nothing."""
    return shape.dtype_bytes * max(8 * shape.hidden_size, 3 * shape.intermediate_size + 4 * shape.hidden_size)


def head_bytes(shape: ModelShape, positions: int) -> int:
    """Return the bytes of one chunk at the head: float32 logits, log-softmax, both gradients.

    Fused, there are logits as the model has numbers, the same in float32 and their log-softmax; the
    gradient takes the place of the second.
    """
    each = shape.dtype_bytes + 2 * FLOAT32 if shape.fused_loss else 4 * FLOAT32
    return positions * shape.vocab_size * each


def slots_and_groups(available: int, once: int, *, row: int, training: int, at_once: int) -> tuple[int, int]:
    """Return how many slots fit (K) and how many of them train at once (G), a fifth of the memory left free.

    As many train at once as are asked for, or as fit; what is left is for rows that wait their turn.

    Args:
        available: bytes of the device that are free before the model is loaded.
        once: bytes that are there once per worker: the weights and the head's chunk.
        row: bytes of one more slot that waits.
        training: bytes that it takes beside them while it trains.
        at_once: how many are to train at once.

    >>> slots_and_groups(1000, 300, row=20, training=100, at_once=2)
    (15, 2)
    >>> slots_and_groups(1000, 300, row=20, training=100, at_once=8)
    (5, 4)
    """
    room = int(available * (1 - HEADROOM)) - once
    together = min(at_once, room // max(1, row + training))
    if together < 1:
        return 0, 0
    return (room - together * training) // max(1, row), together
