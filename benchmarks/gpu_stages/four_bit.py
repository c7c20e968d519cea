"""A quantized base: does the pack take it, and how fast is a micro-step?

The smaller shape is written and loaded as ``tune --quantization-bit`` does; the larger one, which would take
too long to write, is quantized where it lies.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from gpu_stages import steps
from gpu_stages.stage import (
    MIB,
    Skipped,
    Stage,
    make_base,
    make_batch,
    make_config,
    make_geometry,
    save_model,
)
from loratune.objectives.training.model import BaseModel, load_model
from loratune.objectives.training.quantized import hold_for_training
from loratune.objectives.training.selfcheck import check_pack
from loratune.study.config import ModelConfig

CASES = (("0.5B", 4, 16, 4, 512), ("0.5B", 8, 16, 4, 512), ("8B", 4, 8, 1, 512))
"""Shape, bits, trials, rows, length."""


def run(stage: Stage) -> None:
    """Tell each case."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Skipped("bitsandbytes is not here")
    for shape, bits, trials, rows, length in CASES:
        case = {"shape": shape, "bits": bits, "trials": trials, "groups_of": trials, "rows": rows}
        case["length"] = 32 if stage.toy else length
        with stage.attempt("micro-step", **case):
            _measure(stage, case)


def _measure(stage: Stage, case: dict[str, Any]) -> None:
    base, before = _quantized(stage, case["shape"], case["bits"])
    geometry = make_geometry(base, rank=8 if stage.toy else 16, length=case["length"])
    check_pack(base, geometry)
    stage.reset_peak()
    pack = steps.make_pack(base, geometry, case["trials"])
    try:
        batch = make_batch(base, trials=case["trials"], rows=case["rows"], length=case["length"])
        timing = steps.measure(stage, base, pack, [batch], repeats=3)
        trials, rows, length = (case[name] for name in ("trials", "rows", "length"))
        said = steps.estimate(base, geometry, slots=trials, together=trials, rows=rows, length=length)
        stage.tell(
            "micro-step",
            **case,
            self_check="passed",
            weights_mib=round(steps.weight_bytes(base) / MIB),
            weights_before_mib=round(before / MIB),
            **timing.told(stage, case["trials"]),
            **steps.memory_told(stage, said),
        )
    finally:
        steps.free(pack)


def _quantized(stage: Stage, shape: str, bits: Any) -> tuple[BaseModel, int]:
    """Return a base of so many bits, and the bytes of its weights before."""
    base = make_base(stage, make_config(stage, shape))
    before = steps.weight_bytes(base)
    if shape != "0.5B":
        quantize(base)
        stage.free()
        return base, before
    folder = save_model(stage, base)
    del base
    stage.free()
    config = ModelConfig(
        name_or_path=str(folder), device=stage.device.type, dtype="bfloat16", quantization_bit=bits
    )
    return load_model(config), before


def quantize(base: BaseModel) -> None:
    """Put layers of four bits (nf4) in the place of every linear layer but the head."""
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
    hold_for_training(base.model)
