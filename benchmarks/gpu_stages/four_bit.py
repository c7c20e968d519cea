"""A base of four bits: does the pack take it, and how fast is a micro-step?"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from gpu_stages import steps
from gpu_stages.stage import MIB, Skipped, Stage, make_base, make_batch, make_config, make_geometry
from loratune.objectives.training.model import BaseModel
from loratune.objectives.training.selfcheck import check_pack

CASES = (("0.5B", 16, 4, 512), ("8B", 8, 1, 512))
"""Shape, trials, rows, length."""


def run(stage: Stage) -> None:
    """Tell each case."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not here")
    for shape, trials, rows, length in CASES:
        length = 32 if stage.toy else length
        with stage.attempt("micro-step", shape=shape):
            _measure(stage, shape, trials, rows, length)


def _measure(stage: Stage, shape: str, trials: int, rows: int, length: int) -> None:
    base = make_base(stage, make_config(stage, shape))
    before = steps.weight_bytes(base)
    replaced = quantize(base)
    stage.free()
    geometry = make_geometry(base, rank=8 if stage.toy else 16, length=length)
    check_pack(base, geometry)
    stage.reset_peak()
    pack = steps.make_pack(base, geometry, trials)
    try:
        batch = make_batch(base, trials=trials, rows=rows, length=length)
        timing = steps.measure(stage, base, pack, [batch], repeats=3)
        peak = stage.peak()
        stage.tell(
            "micro-step",
            shape=shape,
            trials=trials,
            rows=rows,
            length=length,
            self_check="passed",
            layers=replaced,
            weights_mib=round(steps.weight_bytes(base) / MIB),
            weights_before_mib=round(before / MIB),
            **timing.told(stage, trials),
            **({} if peak is None else {"peak_mib": round(peak / MIB)}),
        )
    finally:
        steps.free(pack)


def quantize(base: BaseModel) -> int:
    """Put layers of four bits (nf4) in the place of every linear layer but the head; return how many."""
    from bitsandbytes import nn as quantized

    geometry = make_geometry(base, rank=8, length=16)
    for name in geometry.targets:
        parent = base.model.get_submodule(name.rpartition(".")[0])
        plain: Any = base.model.get_submodule(name)
        layer = quantized.Linear4bit(
            plain.in_features,
            plain.out_features,
            bias=plain.bias is not None,
            compute_dtype=base.dtype,
            quant_type="nf4",
            device="meta",
        )
        layer.weight = quantized.Params4bit(
            plain.weight.detach(), requires_grad=False, quant_type="nf4", module=layer
        )
        if plain.bias is not None:
            layer.bias = torch.nn.Parameter(plain.bias.detach(), requires_grad=False)
        setattr(parent, name.rpartition(".")[2], layer.to(base.device))
    base.model.requires_grad_(False)
    return len(geometry.targets)
