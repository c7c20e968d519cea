"""Training passes through the decoder that a GPU replays: recorded once a shape, as CUDA graphs.

A pass is thousands of small kernels, and a small model's take a GPU less time than handing them out takes
the processor (docs/benchmarks.md). A recorded pass is handed out at once. Addresses are recorded, values are
not: the pack's numbers, changed by the optimizer, are read anew each time. The head stays outside, because
how many positions it reads differs from batch to batch. Knows nothing of trials or adapters.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import torch

SEEN = 2
"""A shape is recorded when it comes for the third time: some never come again."""
MOST_SHAPES = 64
"""Shapes that are recorded; each takes some megabytes for its kernels."""
MOST_TOKENS = 16384
"""Tokens of a pass that is recorded; a larger one keeps a GPU busy as it is."""


class Replay:
    """The forward and the backward pass of one shape, recorded.

    Args:
        run: ``tokens [rows, T] -> hidden [rows, T, d]``, with a backward pass.
        tokens: a batch of the shape.
        pool: memory that all recordings share: a pass is over before another begins.
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], tokens: torch.Tensor, pool: Any) -> None:
        self._tokens = tokens.clone()
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Libraries set themselves up in a stream's first pass, which cannot be recorded. A gradient of zeros
        # leaves the pack's gradients as they are.
        beside = torch.cuda.Stream(tokens.device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(tokens.device))
        with torch.cuda.stream(beside):
            hidden = run(self._tokens)
            hidden.backward(torch.zeros_like(hidden))  # type: ignore[no-untyped-call]
            expected = hidden.detach()
            del hidden
        torch.cuda.current_stream(tokens.device).wait_stream(beside)
        with torch.cuda.graph(self._forward, pool=pool):
            hidden = run(self._tokens)
        self._gradient = torch.zeros_like(hidden)
        with torch.cuda.graph(self._backward, pool=pool):
            hidden.backward(self._gradient)  # type: ignore[no-untyped-call]
        self._hidden = hidden.detach()
        if not same_but_for_rounding(self.forward(tokens), expected):
            raise RuntimeError("a recorded pass computes something else")

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the hidden states ``[rows, T, d]``; they hold until the next pass of any shape."""
        self._tokens.copy_(tokens)
        self._forward.replay()
        return self._hidden

    def backward(self, gradient: torch.Tensor | None) -> None:
        """Run the backward pass of the last forward pass."""
        assert gradient is not None
        self._gradient.copy_(gradient)
        self._backward.replay()


def same_but_for_rounding(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two results of one computation agree; the numbers of a trial that diverges are left out."""
    tolerance = 1e-4 if other.dtype == torch.float32 else 3e-2
    finite = torch.isfinite(one) & torch.isfinite(other)
    apart = torch.where(finite, one.float() - other.float(), 0.0).abs().max()
    return bool(apart <= tolerance * torch.where(finite, other.float(), 0.0).abs().max())


class Replays:
    """Every shape's recording, made when the shape comes again.

    Args:
        run: as of ``Replay``; what it reads must stay where it is.
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self.failed: str | None = None
        """Why nothing is recorded any more; passes then run as they do elsewhere."""
        self._run = run
        self._seen: collections.Counter[tuple[int, ...]] = collections.Counter()
        self._made: dict[tuple[int, ...], Replay] = {}
        self._pool: Any = None

    def of(self, tokens: torch.Tensor, trials: int) -> Replay | None:
        """Return the recording for ``trials`` trials and the shape of ``tokens`` ``[rows, T]``.

        None where the pass is to run as it is: a shape that is new or large, or cannot be recorded.
        """
        shape = (trials, *tokens.shape)
        made = self._made.get(shape)
        if made is not None or self.failed is not None:
            return made
        self._seen[shape] += 1
        if self._seen[shape] <= SEEN or tokens.numel() > MOST_TOKENS or len(self._made) == MOST_SHAPES:
            return None
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            self._made[shape] = Replay(self._run, tokens, self._pool)
        except RuntimeError as error:  # memory has run out, or the model waits for the GPU in its midst
            self.failed = " ".join(str(error).split())[:120]
            self._made.clear()
            torch.cuda.empty_cache()
            return None
        return self._made[shape]
