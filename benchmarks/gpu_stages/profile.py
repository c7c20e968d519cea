"""Where the time of a micro-step goes, operator by operator: many short kernels, and long work in groups."""

from __future__ import annotations

from typing import Any

import torch
from gpu_stages import steps
from gpu_stages.stage import Stage, make_base, make_batch, make_config, make_geometry

CASES = (("0.5B", 16, 16, 4, 512), ("8B", 8, 2, 4, 512))
"""Shape, trials, in groups of, rows, length: short work by many kernels, and long work in groups."""
SHOWN, WRITTEN = 8, 60
"""Operators that a result names, and that the table holds."""


def run(stage: Stage) -> None:
    """Tell the heaviest operators of each case; the whole table is a file beside the results."""
    for shape, trials, group, rows, length in CASES:
        length = 32 if stage.toy else length
        with stage.attempt("operators", shape=shape):
            _profile(stage, shape, trials, group, rows, length)


def _profile(stage: Stage, shape: str, trials: int, group: int, rows: int, length: int) -> None:
    base = make_base(stage, make_config(stage, shape))
    pack = steps.make_pack(base, make_geometry(base, rank=8 if stage.toy else 16, length=length), trials)
    batch = make_batch(base, trials=group, rows=rows, length=length)

    def once() -> None:
        steps.accumulate(pack, [batch] * (trials // group))
        steps.step_optimizer(pack, 1)

    try:
        once()
        stage.synchronize()
        activities = [torch.profiler.ProfilerActivity.CPU]
        key = "self_cpu_time_total"
        if stage.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
            key = "self_device_time_total"
        with torch.profiler.profile(activities=activities) as profile:
            once()
            stage.synchronize()
        averages: Any = profile.key_averages()
        table = averages.table(sort_by=key, row_limit=WRITTEN, max_name_column_width=70)
        (stage.folder / f"profile-{shape}.txt").write_text(table + "\n")
        # A kernel's time is told of the operator that called it and, beside it, of the kernel itself.
        found = [one for one in averages if one.device_type == torch.autograd.DeviceType.CPU]
        whole = sum(getattr(one, key) for one in found)
        heaviest = sorted(found, key=lambda one: -getattr(one, key))[:SHOWN]
        stage.tell(
            "operators",
            shape=shape,
            trials=trials,
            groups_of=group,
            rows=rows,
            length=length,
            operators=sum(one.count for one in found),
            heaviest={one.key[:40]: round(getattr(one, key) / whole, 3) for one in heaviest},
        )
    finally:
        steps.free(pack)
