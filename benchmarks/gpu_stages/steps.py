"""One micro-step of a pack, timed in its parts; how much memory we said it would take."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gpu_stages.stage import MIB, Stage, make_batch
from loratune.objectives import memory
from loratune.objectives.training import quantized
from loratune.objectives.training.batches import Batch
from loratune.objectives.training.demand import shape_of
from loratune.objectives.training.groups import PASS_TOKENS, at_once
from loratune.objectives.training.head import chunk_rows
from loratune.objectives.training.model import BaseModel
from loratune.objectives.training.optimizer import Step, adamw, clip_by_row_norm
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.replay import MOST_TOKENS, SEEN
from loratune.objectives.training.targets import features
from loratune.study.facts import Geometry

HOST_BOUND = 0.9
"""From this share of a step on, handing out the work takes as long as the work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """Medians of one micro-step, in milliseconds."""

    forward: float
    """The decoder's forward pass."""
    head: float
    """From there to the beginning of its backward pass: output head and loss."""
    backward: float
    """The decoder's backward pass."""
    whole: float
    """All of it."""
    host: float
    """Until the processor had handed out all of it."""
    optimizer: float
    """Clipping and AdamW for every trial, with a read of each one's norm, as after a whole batch."""

    def told(self, stage: Stage, trials: int) -> dict[str, Any]:
        """Return what a result says of it."""
        # On a CPU handing out is doing.
        bound = "host" if self.host > HOST_BOUND * self.whole else "device"
        told = {"host_ms": self.host, "bound_by": bound} if stage.device.type == "cuda" else {}
        return told | {
            "forward_ms": self.forward,
            "head_ms": self.head,
            "backward_ms": self.backward,
            "micro_step_ms": self.whole,
            "optimizer_ms": self.optimizer,
            "ms_a_trial": (self.whole + self.optimizer) / trials,
        }


@contextlib.contextmanager
def noted(stage: Stage, base: BaseModel) -> Iterator[list[tuple[str, Any]]]:
    """Note when the decoder begins and ends its forward pass, and when its backward pass begins."""
    moments: list[tuple[str, Any]] = []
    decoder = base.model.get_decoder()

    def began(*_: Any) -> None:
        moments.append(("forward", stage.mark()))

    def ended(_module: Any, _args: Any, output: Any) -> None:
        moments.append(("head", stage.mark()))
        hidden = output.last_hidden_state
        if hidden.requires_grad:
            hidden.register_hook(lambda _gradient: moments.append(("backward", stage.mark())))

    hooks = [decoder.register_forward_pre_hook(began), decoder.register_forward_hook(ended)]
    try:
        yield moments
    finally:
        for hook in hooks:
            hook.remove()


def make_pack(base: BaseModel, geometry: Geometry, slots: int) -> Pack:
    """Return a full pack whose adapters are random, as zeros would be faster than a trial's numbers."""
    pack = Pack(base, geometry, slots)
    pack.fill()
    pack.params.normal_(std=0.01)
    pack.scales.fill_(1.0)
    return pack


def group_of(trials: int, rows: int, length: int) -> int:
    """Return how many trials go through the base at once: as a search has it, but in equal groups."""
    most = at_once(trials, rows * length, PASS_TOKENS["cuda"])
    return max(group for group in range(1, most + 1) if trials % group == 0)


def measure(stage: Stage, base: BaseModel, pack: Pack, batches: Sequence[Batch], repeats: int = 5) -> Timing:
    """Time a micro-step: the trials in as many groups as there are batches, one after another, then AdamW."""
    parts: dict[str, list[float]] = {
        name: [] for name in ("forward", "head", "backward", "whole", "host", "optimizer")
    }

    for _ in range(1 if stage.toy else 2):
        accumulate(pack, batches)
        step_optimizer(pack, 1)
    with noted(stage, base) as moments:
        for number in range(2 if stage.toy else repeats):
            stage.synchronize()
            moments.clear()
            handed = time.perf_counter()
            begin = stage.mark()
            accumulate(pack, batches)
            end = stage.mark()
            handed = 1000 * (time.perf_counter() - handed)
            step_optimizer(pack, number + 2)
            after = stage.mark()
            stage.synchronize()
            for name in ("forward", "head", "backward"):
                ends = [*(moment for _, moment in moments[1:]), end]
                spans = [
                    stage.milliseconds(moment, until)
                    for (what, moment), until in zip(moments, ends, strict=True)
                    if what == name
                ]
                parts[name].append(sum(spans))
            parts["whole"].append(stage.milliseconds(begin, end))
            parts["optimizer"].append(stage.milliseconds(end, after))
            parts["host"].append(handed)
    return Timing(**{name: statistics.median(spans) for name, spans in parts.items()})


def accumulate(pack: Pack, batches: Sequence[Batch]) -> None:
    """Run one micro-step: the trials in as many groups as there are batches, one after another."""
    group = pack.slots // len(batches)
    for number, batch in enumerate(batches):
        pack.accumulate(batch, [None] * group, slice(number * group, (number + 1) * group))


def replayed(stage: Stage, pack: Pack, batches: Sequence[Batch], repeats: int = 5) -> float | None:
    """Time a micro-step whose passes are replayed, in milliseconds; None where none is recorded."""
    if stage.device.type != "cuda" or batches[0].tokens.numel() > MOST_TOKENS:
        return None
    pack.replay_passes()
    for _ in range(SEEN + 1):
        accumulate(pack, batches)
    assert pack.replays is not None
    if pack.replays.failed:
        return None
    return stage.time(lambda: accumulate(pack, batches), repeats=repeats, warm=0)


def step_optimizer(pack: Pack, number: int) -> None:
    """Clip and update every trial, as a session does once a batch is whole."""
    clip_by_row_norm(list(pack.grads), 1.0)
    steps = [
        Step(number=number, learning_rate=1e-5, weight_decay=0.0, lr_ratio_b=1.0) for _ in range(pack.slots)
    ]
    adamw(
        [pack.params[row] for row in range(pack.slots)],
        [pack.grads[row] for row in range(pack.slots)],
        [pack.exp_avg[row] for row in range(pack.slots)],
        [pack.exp_avg_sq[row] for row in range(pack.slots)],
        steps,
        b_start=pack.layout.b_start,
    )
    pack.grads.zero_()


def micro_step(
    stage: Stage,
    base: BaseModel,
    geometry: Geometry,
    case: dict[str, Any],
    repeats: int = 5,
    *,
    replays: bool = False,
) -> None:
    """Measure a case (trials, groups of, rows, length) and tell its times, rate and memory.

    With ``replays`` once more with recorded passes, as a search takes them where twice its slots would fit.
    """
    trials, group, rows, length = (case[name] for name in ("trials", "groups_of", "rows", "length"))
    stage.reset_peak()
    pack = make_pack(base, geometry, trials)
    try:
        batches = [make_batch(base, trials=group, rows=rows, length=length) for _ in range(trials // group)]
        timing = measure(stage, base, pack, batches, repeats)
        said = estimate(base, geometry, slots=trials, together=group, rows=rows, length=length)
        tokens, memory_said = trials * rows * length, memory_told(stage, said)
        again = replayed(stage, pack, batches, repeats) if replays else None
        faster: dict[str, Any] = {}
        if again is not None:
            faster["replayed_ms_a_trial"] = (again + timing.optimizer) / trials
            faster["replayed_tflops"] = rate(base, geometry, tokens, again)["layer_tflops"]
        stage.tell(
            "micro-step",
            **case,
            **timing.told(stage, trials),
            **rate(base, geometry, tokens, timing.whole),
            **faster,
            **memory_said,
        )
    finally:
        free(pack)


def estimate(
    base: BaseModel, geometry: Geometry, *, slots: int, together: int, rows: int, length: int
) -> int:
    """Return the bytes that ``objectives/memory.py`` says training takes at its height, without dropout.

    Args:
        base: the base model.
        geometry: which layers carry adapters, of what rank.
        slots: trials whose rows are held (K).
        together: how many of them go through the base at once (G).
        rows: examples of each (m).
        length: tokens of each (T), half of which are supervised.
    """
    shape = shape_of(base)
    wrapped = [features(base.model.get_submodule(name)) for name in geometry.targets]
    chunk = chunk_rows(shape.vocab_size, base.device)
    load = memory.Load(
        slots=slots,
        together=together,
        rows=rows,
        length=length,
        rank=geometry.rank_max,
        targets_per_layer=-(-len(wrapped) // shape.layers),
        checkpointing=geometry.gradient_checkpointing,
        head_positions=min(chunk, together * rows * length // 2),
    )
    parameters = memory.row_parameters(wrapped, geometry.rank_max)
    return memory.predict(shape, load, weights=weight_bytes(base), parameters=parameters).peak


def weight_bytes(base: BaseModel) -> int:
    """Return the bytes of the base model's weights, quantized or not."""
    return quantized.weight_bytes(base.model)


def rate(base: BaseModel, geometry: Geometry, tokens: int, milliseconds: float) -> dict[str, float]:
    """Return tokens a second and the arithmetic of the adapted layers.

    Frozen weights take four operations a token and weight: two forward, two for the inputs' gradient.
    Attention, the head, the adapters and anything that is computed again do not count.
    """
    weights = sum(i * o for i, o in (features(base.model.get_submodule(name)) for name in geometry.targets))
    seconds = milliseconds / 1000
    return {"tokens_per_second": tokens / seconds, "layer_tflops": 4 * weights * tokens / seconds / 1e12}


def memory_told(stage: Stage, said: int) -> dict[str, Any]:
    """Return the peak beside what was said of it."""
    peak = stage.peak()
    told: dict[str, Any] = {"estimate_mib": round(said / MIB)}
    if peak is not None:
        told |= {"peak_mib": round(peak / MIB), "estimate_of_peak": said / peak}
    return told


def free(pack: Pack) -> None:
    """Take a pack off its base and let go of its rows, whoever may still hold the pack."""
    pack.close()
    pack.params = pack.grads = pack.exp_avg = pack.exp_avg_sq = torch.empty(0)
