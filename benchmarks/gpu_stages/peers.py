"""Whole trials: ``tune search`` beside Trainer processes that share the device, the same trials each."""

from __future__ import annotations

from typing import Any

import throughput
import torch
from gpu_stages import steps
from gpu_stages.stage import MIB, Stage, make_base, make_config, save_model
from loratune.demo import data_path

PAYS = 8
"""Processes of Trainer side by side that a processor of sixteen cores keeps up with."""
PROCESS_BYTES = 2 * 2**30
"""Of a GPU that a process takes beside weights and activations: its context, the allocator's holes."""


def run(stage: Stage) -> None:
    """Tell each side's trials per hour."""
    base = make_base(stage, make_config(stage, "0.5B"))
    folder = save_model(stage, base)
    counts = (1,) if stage.toy else processes_that_fit(steps.weight_bytes(base), free_bytes(stage))
    del base
    stage.free()
    trials, examples = 3 if stage.toy else 48, 256
    arguments = throughput.make_parser().parse_args(
        [
            *(f"--trials={trials}", f"--examples={examples}", f"--eval-examples={16 if stage.toy else 64}"),
            # At the rates of a tiny model half a billion random weights diverge, and end early.
            *(f"--device={stage.device.type}", "--space=default", "--highest-rate=1e-3"),
        ]
    )
    job = throughput.job_of(arguments, folder, data_path())
    with stage.attempt("whole trials", side="loratune"):
        ours, evaluations = _ended(throughput.loratune_side, job, arguments)
        same = [throughput.as_trainer_reports(one, arguments.eval_batch) for one in evaluations]
        _tell(stage, "loratune", ours, trials)
    for processes in counts:
        peer = throughput.Peer(processes=processes, threads=1 if processes > 1 else None)
        with stage.attempt("whole trials", side=peer.name):
            theirs = _ended(throughput.trainer_side, job, peer)
            apart = max(abs(a - b) / abs(b) for a, b in zip(same, theirs.losses, strict=True))
            allowed = throughput.SAME[stage.device.type]
            failed = {} if apart < allowed else {"failed": f"losses differ by {apart:.2g}, not the same work"}
            ratio = theirs.seconds / ours.seconds
            _tell(stage, peer.name, theirs, trials, losses_differ_by=apart, ours_times=ratio, **failed)


def free_bytes(stage: Stage) -> int:
    """Return what is free on the GPU; a CPU runs one process."""
    return int(torch.cuda.mem_get_info(stage.device)[0]) if stage.device.type == "cuda" else 0


def processes_that_fit(weights: int, free: int) -> tuple[int, ...]:
    """Return how many processes of Trainer to run side by side, the number that should be strongest first.

    >>> processes_that_fit(2**30, 140 * 2**30), processes_that_fit(2**30, 16 * 2**30)
    ((8,), (4,))
    """
    # Activations of a batch and the logits of its whole vocabulary are about as large as the weights twice.
    return (max(1, min(PAYS, free // (3 * weights + PROCESS_BYTES - weights))),)


def _ended(call: Any, *given: Any) -> Any:
    """Call what ends the process where its work fails; here it is a result among others."""
    try:
        return call(*given)
    except SystemExit as why:
        raise RuntimeError(str(why)) from why


def _tell(stage: Stage, name: str, side: throughput.Side, trials: int, **more: Any) -> None:
    peak = {} if side.device_peak is None else {"gpu_mib": round(side.device_peak / MIB)}
    stage.tell(
        "whole trials",
        side=name,
        trials_per_hour=3600 * trials / side.seconds,
        seconds=side.seconds,
        start_up_seconds=side.watched.wall - side.seconds,
        processor_seconds=side.watched.cpu,
        **peak,
        **more,
        notes="; ".join(side.notes),
    )
