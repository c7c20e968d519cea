"""What a round's end costs: a trial's state copied, digested and written; an evaluation."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

from gpu_stages import steps
from gpu_stages.stage import MIB, Stage, make_base, make_config, make_geometry, random_split
from loratune.objectives.training import checkpoint
from loratune.objectives.training.evaluation import EvalSet
from loratune.spaces.params import LoraParams

TRIALS, RANK, LENGTH, EXAMPLES = 16, 64, 256, 64


def run(stage: Stage) -> None:
    """Tell the parts of saving one trial, an evaluation, and what saving all takes."""
    base = make_base(stage, make_config(stage, "0.5B"))
    rank, length = (8, 32) if stage.toy else (RANK, LENGTH)
    trials = 4 if stage.toy else TRIALS
    pack = steps.make_pack(base, make_geometry(base, rank=rank, length=length), trials)
    params = LoraParams(learning_rate=1e-4, batch_size=4, lora_rank=rank, lora_alpha=float(rank))
    writer = checkpoint.Writer.of(pack)
    with stage.attempt("checkpoint"):
        parts: dict[str, list[float]] = {"copy": [], "copy_into_memory": [], "digest_and_write": []}
        size = 0
        with writer:
            memory = writer.memory()
        for row in range(2):

            def copy(row: int = row, into: Any = None) -> Any:
                return checkpoint.row_to_tensors(pack, row, params, into=into)

            tensors, spent = _clocked(stage, copy)
            parts["copy"].append(spent)
            parts["copy_into_memory"].append(_clocked(stage, lambda copy=copy: copy(into=memory))[1])
            path = stage.folder / f"{row}.safetensors"
            _, spent = _clocked(stage, lambda path=path, tensors=tensors: checkpoint.write(path, tensors, {}))
            parts["digest_and_write"].append(spent)
            size = path.stat().st_size
            path.unlink()
        told = {f"{name}_ms": statistics.median(spans) for name, spans in parts.items()}
        stage.tell("checkpoint", rank=rank, mib=size / MIB, **told, note="of one trial")
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
    with stage.attempt("all checkpoints"):
        for own in (16, rank) if not stage.toy else (4, rank):
            few = dataclasses.replace(params, lora_rank=own)

            def save(few: LoraParams = few) -> None:
                with writer:
                    for row in range(trials):
                        path = stage.folder / f"{row}.safetensors"
                        tensors = checkpoint.row_to_tensors(pack, row, few, into=writer.memory())
                        writer.write(path, tensors, {})

            first, again = (_clocked(stage, save)[1] for _ in range(2))
            stage.tell("all checkpoints", trials=trials, rank=own, first_ms=first, again_ms=again)
            for row in range(trials):
                (stage.folder / f"{row}.safetensors").unlink()
    steps.free(pack)


def _clocked(stage: Stage, call: Any) -> tuple[Any, float]:
    """Return what a call returns, and its milliseconds by the clock."""
    stage.synchronize()
    began = time.perf_counter()
    result = call()
    stage.synchronize()
    return result, 1000 * (time.perf_counter() - began)
