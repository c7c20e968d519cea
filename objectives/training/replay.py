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
UNUSED = 256
"""Passes that went by without a recording before it makes way for another. Of shapes that come in turn, more
than are kept, each would else be recorded again and again, which takes as long as several passes."""
MOST_TOKENS = 16384
"""Tokens of a pass that is recorded; a larger one keeps a GPU busy as it is."""


class Replay:
    """The forward and the backward pass of one shape, recorded.

    Args:
        run: ``tokens [rows, T] -> hidden [rows, T, d]``, with a backward pass.
        tokens: a batch of the shape.
        gradients: what a backward pass adds to; as they were, in the end.
        pool: memory that all recordings share: a pass is over before another begins.
        beside: a stream that all recordings are made on: libraries keep memory for each one that they meet,
            cuBLAS 32 MiB on a Hopper GPU.

    Raises ``RuntimeError`` where it cannot be recorded, or computes something else than it does unrecorded.
    """

    def __init__(
        self,
        run: Callable[[torch.Tensor], torch.Tensor],
        tokens: torch.Tensor,
        gradients: torch.Tensor,
        pool: Any,
        beside: Any,
    ) -> None:
        self._tokens = tokens.clone()
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        before = gradients.clone()
        # Libraries set themselves up in a stream's first pass, which cannot be recorded.
        here = torch.cuda.current_stream(tokens.device)
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            hidden = run(self._tokens)
            gradient = torch.randn_like(hidden)
            hidden.backward(gradient)  # type: ignore[no-untyped-call]
            expected = hidden.detach()
            del hidden
        here.wait_stream(beside)
        added = gradients - before
        gradients.copy_(before)
        with torch.cuda.graph(self._forward, pool=pool, stream=beside):
            hidden = run(self._tokens)
        self._gradient = torch.zeros_like(hidden)
        with torch.cuda.graph(self._backward, pool=pool, stream=beside):
            hidden.backward(self._gradient)  # type: ignore[no-untyped-call]
        self._hidden = hidden.detach()
        differ = [apart(self.forward(tokens), expected)]
        self.backward(gradient)
        differ.append(apart(gradients - before, added))
        gradients.copy_(before)
        if not all(one <= allowed(expected.dtype) for one in differ):
            by = " and ".join(f"{one:.1g}" for one in differ)
            raise RuntimeError(f"a recorded pass computes something else, by {by} of the greatest entry")

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


def apart(one: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the greatest difference of two results, relative to the greatest entry that is expected.

    Places that are not expected to be finite, those of a trial that diverges, are left out.
    """
    finite = torch.isfinite(expected)
    difference = torch.where(finite, one.float() - expected.float(), 0.0).abs().max()
    greatest = torch.where(finite, expected.float(), 0.0).abs().max()
    return 0.0 if bool(difference == 0) else float(difference / greatest)


def allowed(dtype: torch.dtype) -> float:
    """Return by how much two passes in a number type may differ, as rounding makes them."""
    return 1e-4 if dtype == torch.float32 else 3e-2


class Replays:
    """Every shape's recording, made when the shape comes again.

    Args:
        run: as of ``Replay``; what it reads must stay where it is.
        gradients: as of ``Replay``.
    """

    def __init__(self, run: Callable[[torch.Tensor], torch.Tensor], gradients: torch.Tensor) -> None:
        self.failed: str | None = None
        """Why nothing is recorded any more; passes then run as they do elsewhere."""
        self._run = run
        self._gradients = gradients
        self._seen: collections.Counter[tuple[int, ...]] = collections.Counter()
        self._made: dict[tuple[int, ...], Replay] = {}
        """The one that was used last comes last."""
        self._used: dict[tuple[int, ...], int] = {}
        """Of each of them, after how many passes it was last used."""
        self._passes = 0
        self._pool: Any = None
        self._beside: Any = None

    def of(self, tokens: torch.Tensor, which: tuple[int, ...]) -> Replay | None:
        """Return the recording for the shape of ``tokens`` ``[rows, T]`` and what else sets addresses.

        None where the pass is to run as it is: a shape that is new or large, or cannot be recorded.

        Args:
            tokens: the batch.
            which: what a pass reads and writes beside it, such as the first and the last row of the pack.
        """
        shape = (*which, *tokens.shape)
        self._passes += 1
        made = self._made.pop(shape, None)
        if made is not None:
            self._made[shape] = made
            self._used[shape] = self._passes
            return made
        self._seen[shape] += 1
        if self.failed is not None or self._seen[shape] <= SEEN or tokens.numel() > MOST_TOKENS:
            return None
        if len(self._made) == MOST_SHAPES:
            unused = next(iter(self._made))
            if self._passes - self._used[unused] <= UNUSED:
                return None
            del self._made[unused], self._used[unused], self._seen[unused]
        return self._record(shape, tokens)

    def _record(self, shape: tuple[int, ...], tokens: torch.Tensor) -> Replay | None:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._beside = torch.cuda.Stream(tokens.device)  # type: ignore[no-untyped-call]
        try:
            self._made[shape] = Replay(self._run, tokens, self._gradients, self._pool, self._beside)
            self._used[shape] = self._passes
            return self._made[shape]
        except RuntimeError as error:  # memory has run out, or the model waits for the GPU in its midst
            self.failed = " ".join(str(error).split())[:120]
        # The error is gone by now, and with it what it held.
        self._made.clear()
        self._used.clear()
        torch.cuda.empty_cache()
        return None
