"""A micro-step replayed from recordings beside one that is not: the same numbers? how much sooner?"""

from __future__ import annotations

import time
from typing import Any

import torch
from gpu_stages import steps
from gpu_stages.stage import MIB, Skipped, Stage, make_base, make_batch, make_config, make_geometry
from loratune.objectives.training.replay import SEEN

RANK = 16
CASES = (
    *(("0.5B", trials, rows, length) for trials in (1, 16) for rows, length in ((1, 128), (4, 128))),
    ("8B", 1, 4, 512),
)
"""Shape, trials, rows, length; longer ones of 0.5B are in the sweep."""


def run(stage: Stage) -> None:
    """Tell each case."""
    if stage.device.type != "cuda":
        raise Skipped("a CPU records nothing")
    base: Any = None
    before = None
    for shape, trials, rows, length in CASES:
        if shape != before:
            base = None
            stage.free()
            base, before = make_base(stage, make_config(stage, shape)), shape
        with stage.attempt("micro-step", shape=shape, trials=trials, rows=rows, length=length):
            _measure(stage, base, shape, trials, rows, length)


def _measure(stage: Stage, base: Any, shape: str, trials: int, rows: int, length: int) -> None:
    pack = steps.make_pack(base, make_geometry(base, rank=RANK, length=length), trials)
    try:
        batch = make_batch(base, trials=trials, rows=rows, length=length)

        def once() -> torch.Tensor:
            return pack.accumulate(batch, [None] * trials)

        once()
        losses, gradients = _numbers(pack, once)
        again, gradients_again = _numbers(pack, once)
        eager = stage.time(once)
        stage.free()
        held = torch.cuda.memory_reserved(stage.device)
        pack.replay_passes()
        for _ in range(SEEN):
            once()
        stage.synchronize()
        began = time.perf_counter()
        once()
        stage.synchronize()
        recording = time.perf_counter() - began
        assert pack.replays is not None
        if pack.replays.failed is not None:
            raise RuntimeError(pack.replays.failed)
        replayed, gradients_replayed = _numbers(pack, once)
        stage.tell(
            "micro-step",
            shape=shape,
            trials=trials,
            rows=rows,
            length=length,
            eager_ms=eager,
            replayed_ms=stage.time(once),
            recording_ms=1000 * recording,
            reserved_mib=round((torch.cuda.memory_reserved(stage.device) - held) / MIB),
            losses_differ_by=_apart(replayed, losses),
            gradients_differ_by=_apart(gradients_replayed, gradients),
            eager_losses_repeat_to=_apart(again, losses),
            eager_gradients_repeat_to=_apart(gradients_again, gradients),
        )
    finally:
        steps.free(pack)


def _numbers(pack: Any, once: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses and the gradients of one micro-step."""
    pack.grads.zero_()
    losses = once().clone()
    return losses, pack.grads.clone()


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the greatest difference, relative to the greatest entry."""
    return float((one - other).abs().max() / other.abs().max())
