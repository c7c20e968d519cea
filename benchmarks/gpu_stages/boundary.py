"""What a round's end costs: a trial's state copied, serialised and written; an evaluation."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import safetensors.torch
import torch
from gpu_stages import steps
from gpu_stages.stage import MIB, Stage, make_base, make_config, make_geometry, random_split
from loratune.objectives.training import checkpoint
from loratune.objectives.training.evaluation import EvalSet
from loratune.spaces.params import LoraParams

TRIALS, RANK, LENGTH, EXAMPLES = 16, 64, 256, 64


def run(stage: Stage) -> None:
    """Tell the parts of saving, another way to copy, and an evaluation."""
    base = make_base(stage, make_config(stage, "0.5B"))
    rank, length = (8, 32) if stage.toy else (RANK, LENGTH)
    trials = 4 if stage.toy else TRIALS
    pack = steps.make_pack(base, make_geometry(base, rank=rank, length=length), trials)
    params = LoraParams(learning_rate=1e-4, batch_size=4, lora_rank=rank, lora_alpha=float(rank))
    with stage.attempt("checkpoint"):
        parts: dict[str, list[float]] = {"copy": [], "serialise": [], "write": []}
        size = 0
        for row in range(2):
            tensors, spent = _clocked(stage, lambda row=row: checkpoint.row_to_tensors(pack, row, params))
            parts["copy"].append(spent)
            data, spent = _clocked(stage, lambda tensors=tensors: safetensors.torch.save(tensors))
            parts["serialise"].append(spent)
            size = len(data)
            path = stage.folder / f"{row}.safetensors"
            _, spent = _clocked(stage, lambda path=path, tensors=tensors: checkpoint.write(path, tensors, {}))
            parts["write"].append(spent - parts["serialise"][-1])
            path.unlink()
        told = {f"{name}_ms": statistics.median(spans) for name, spans in parts.items()}
        stage.tell(
            "checkpoint", rank=rank, mib=size / MIB, **told, note="of one trial; write is without serialise"
        )
    with stage.attempt("all checkpoints"):
        for own in (16, rank) if not stage.toy else (4, rank):
            few = dataclasses.replace(params, lora_rank=own)

            def save(few: LoraParams = few) -> None:
                with checkpoint.Writer(checkpoint.writing_threads(stage.device)) as writer:
                    for row in range(trials):
                        path = stage.folder / f"{row}.safetensors"
                        writer.write(path, checkpoint.row_to_tensors(pack, row, few), {})

            _, spent = _clocked(stage, save)
            stage.tell("all checkpoints", trials=trials, rank=own, ms=spent)
            for row in range(trials):
                (stage.folder / f"{row}.safetensors").unlink()
    with stage.attempt("pinned copy"):
        rows = (pack.params, pack.exp_avg, pack.exp_avg_sq)
        into = torch.empty(3, pack.layout.width, pin_memory=stage.device.type == "cuda")

        def copy() -> None:
            for place, numbers in zip(into, rows, strict=True):
                place.copy_(numbers[0], non_blocking=True)

        stage.tell("pinned copy", mib=into.nbytes / MIB, copy_ms=stage.time(copy, repeats=5))
    with stage.attempt("evaluation"):
        split = random_split(16 if stage.toy else EXAMPLES, length, base.summary.vocab_size)
        own = EvalSet(split, len(split), 8, stage.device)
        own.losses(pack, slice(0, trials))
        _, spent = _clocked(stage, lambda: own.losses(pack, slice(0, trials)))
        stage.tell(
            "evaluation",
            trials=trials,
            examples=len(split),
            length=length,
            ms=spent,
            rows_per_second=1000 * trials * len(split) / spent,
        )
    steps.free(pack)


def _clocked(stage: Stage, call: Any) -> tuple[Any, float]:
    """Return what a call returns, and its milliseconds by the clock."""
    stage.synchronize()
    began = time.perf_counter()
    result = call()
    stage.synchronize()
    return result, 1000 * (time.perf_counter() - began)
