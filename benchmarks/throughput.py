"""Trials per hour: loratune beside Optuna with Transformers' Trainer and PEFT, one trial at a time.

    python benchmarks/throughput.py                      the embedded demo
    python benchmarks/throughput.py --real               stories260K on disfl_qa, from ../shared
    python benchmarks/throughput.py --large              34 million random weights on the demo's data
    python benchmarks/throughput.py --model M --data D [--space default] [--device cuda]

Both sides train the same trials in full (no pruning): same configurations, drawn once from the space,
same examples in the same order, same adapters to begin with, evaluated on the same sets at the same
points. (A) is the command ``tune search --pruner none`` as a user types it, (B) is trainer_peer.py, as one
process or as several that share the trials. Each runs in processes of its own, A B A B; the ratio is the
median of the rounds'. With --strongest several peers take their turns, and the claim is against the fastest.
Speed counts only where the final losses agree, so their greatest relative difference is printed with it,
and a trial that ended early on one side makes the call fail.

Learning rates are drawn up to --highest-rate: above it these small models no longer train stably, two
correct programs drift apart by rounding alone, and there would be nothing to compare; a step costs the
same at any rate.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from loratune.demo import data_path, model_path
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.storage.store import Store
from loratune.study.budget import ROUNDS
from loratune.study.records import Evaluation
from throughput_parts.drawing import draw
from throughput_parts.large_model import make_large
from throughput_parts.llamafactory import first_record, llamafactory_side, why_not
from throughput_parts.peers import Peer, peers_of
from throughput_parts.report import Round, Side, mib, report
from throughput_parts.watching import Watched, watch

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL_MODEL = SHARED / "models" / "stories260K"
REAL_DATA = SHARED / "data" / "disfl_qa" / "train_alpaca.jsonl"
SAME = {"cpu": 1e-3, "cuda": 5e-3}
"""Final losses that differ by more than this share come from different work. A GPU trains in bfloat16, where
PEFT keeps the adapters in float32 and the pack multiplies them in the base's type."""


def job_of(arguments: argparse.Namespace, model: str | Path, data: str | Path) -> dict[str, Any]:
    """Return what both sides are to do."""
    preset = PRESETS[arguments.space]
    trials = draw(preset.space, preset.default, arguments.trials, arguments.seed, arguments.highest_rate)
    return {
        "model": str(Path(model).resolve()) if Path(model).exists() else str(model),
        "data": str(Path(data).resolve()),
        "device": arguments.device,
        "seed": arguments.seed,
        "examples": arguments.examples,
        "eval_examples": arguments.eval_examples,
        "eval_batch": arguments.eval_batch,
        "space": preset.space.to_dict(),
        "configs": [params.to_dict() for params in trials],
    }


def loratune_side(job: dict[str, Any], arguments: argparse.Namespace) -> tuple[Side, list[Evaluation]]:
    """Run ``tune search``; return it and the final losses of each example."""
    with tempfile.TemporaryDirectory(prefix="loratune-throughput-") as name:
        folder = Path(name)
        settings = {
            key: job[key] for key in ("model", "data", "device", "seed", "examples", "eval_examples")
        } | {
            "space": arguments.space,
            "trials": len(job["configs"]),
            "pruner": "none",
            "storage": "tune.db",
            "workers": arguments.workers,
            "slots": arguments.slots,
            "enqueue": job["configs"][1:],
        }
        (folder / "search.yaml").write_text(
            yaml.safe_dump({key: value for key, value in settings.items() if value is not None})
        )
        command = [sys.executable, "-m", "loratune", "search", "--config", "search.yaml"]
        seen = watch([command], folder)
        with Store.open(str(folder / "tune.db"), mode="read") as store:
            study = store.study(None)
            facts = study.facts
            (finished,) = store.events(study.id, "finished")
            trials = store.trials(study.id)
            evaluations = store.evaluations(study.id, ROUNDS)
            curve = store.curve(study.id)
        early = [f"trial {trial.number} is {trial.state}" for trial in trials if trial.state != "complete"]
        if early:
            sys.exit(f"not the same work: {'; '.join(early)}; lower --highest-rate")
        if [trial.params.to_dict() for trial in trials] != job["configs"]:
            sys.exit("not the same work: loratune ran other configurations than were asked for")
        detail = finished.detail
        begun: dict[int, float] = {}
        peaks: dict[int, int] = {}
        for point in curve:
            began = point.started_at.timestamp()
            begun[point.worker] = min(begun.get(point.worker, began), began)
            peaks[point.worker] = max(peaks.get(point.worker, 0), point.memory_bytes)
        share = detail["orchestration_seconds"] / detail["seconds"]
        side = Side(
            watched=seen,
            seconds=detail["seconds"],
            losses=tuple(trial.value or math.nan for trial in trials),
            start=f"{seen.wall - detail['seconds']:.1f} s: first worker, self-check, speed, plan, report",
            device_peak=sum(peaks.values()) if facts.model.on_gpu else None,
            notes=(
                f"{len(begun)} workers of {facts.slots} slots, the last of which began "
                f"{max(begun.values()) - min(begun.values()):.1f} s after the first",
                f"base weights loaded {len(begun)} times, {mib(facts.memory.base_bytes)} each",
                f"orchestration {100 * share:.1f} % of the study",
                f"a trial: {facts.budget.examples} examples, evaluated on {facts.budget.eval_examples} after "
                f"rounds 1, 2, 4 and {facts.budget.final_eval_examples} at the end",
            ),
        )
        return side, [evaluations[trial.number] for trial in trials]


def trainer_side(job: dict[str, Any], peer: Peer) -> Side:
    """Run trainer_peer.py, once or side by side; the processes take the trials in turn, whoever is free."""
    with tempfile.TemporaryDirectory(prefix="loratune-throughput-") as name:
        folder = Path(name)
        (folder / "claims").mkdir()
        (folder / "job.json").write_text(json.dumps({**job, "claims": str(folder / "claims")}))
        program = Path(__file__).with_name("trainer_peer.py")
        files = [folder / f"result-{number}.json" for number in range(peer.processes)]
        commands = [[sys.executable, str(program), "job.json", file.name] for file in files]
        seen = watch(commands, folder, peer.threads)
        results = [json.loads(file.read_text()) for file in files]
    return merged(results, seen, len(job["configs"]))


def merged(results: list[dict[str, Any]], seen: Watched, trials: int) -> Side:
    """Return what processes did side by side as one side; every trial must have been done once."""
    done = [int(number) for result in results for number in result["trials"]]
    if sorted(done) != list(range(trials)):
        sys.exit(f"not the same work: the peer's processes did the trials {sorted(done)} of {trials}")
    by_number = {int(number): own for result in results for number, own in result["trials"].items()}
    seconds = max(result["ended"] for result in results) - min(result["began"] for result in results)
    parts = (
        f"{key} {statistics.fmean(result[key] for result in results):.1f}"
        for key in ("imports", "model", "tokens")
    )
    peaks = [result["device_peak"] for result in results if result["device_peak"] is not None]
    idle = max(result["ended"] for result in results) - min(result["ended"] for result in results)
    each = ", ".join(str(len(result["trials"])) for result in results)
    median = statistics.median(own["seconds"] for own in by_number.values())
    return Side(
        watched=seen,
        seconds=seconds,
        losses=tuple(by_number[number]["losses"][-1] for number in range(trials)),
        start=f"{seen.wall - seconds:.1f} s: {', '.join(parts)}",
        device_peak=sum(peaks) if peaks else None,
        notes=(
            f"threads of each process {results[0]['threads']}; base weights loaded {len(results)} times",
            f"trials of each process {each}; the last ended {idle:.1f} s after the first",
            f"seconds of a trial: median {median:.2f}",
        ),
    )


def as_trainer_reports(evaluation: Evaluation, rows: int) -> float:
    """Return Trainer's eval loss: the mean, over batches of ``rows`` examples, of each batch's mean."""
    starts = range(0, len(evaluation.losses), rows)
    return statistics.fmean(
        float(evaluation.losses[start : start + rows].sum(dtype=np.float64))
        / float(evaluation.tokens[start : start + rows].sum())
        for start in starts
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder or Hub id (default: the demo's)")
    parser.add_argument("--data", help="a file of records (default: the demo's)")
    parser.add_argument(
        "--real", action="store_true", help="stories260K on disfl_qa; skips without ../shared"
    )
    parser.add_argument(
        "--large", action="store_true", help="34 million random weights: a CPU that arithmetic keeps busy"
    )
    parser.add_argument("--trials", type=int, default=64, help="trials of each run (default 64)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of A and B (default 3)")
    parser.add_argument("--space", default="tiny", choices=sorted(PRESETS), help="preset (default tiny)")
    parser.add_argument("--seed", type=int, default=0, help="of configurations and data order (default 0)")
    parser.add_argument("--highest-rate", type=float, default=7e-3, help="of learning rates (default 7e-3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--examples", type=int, help="training examples of a trial (default: as tune search)")
    parser.add_argument("--eval-examples", type=int, help="of the final evaluation (default: as tune search)")
    parser.add_argument("--eval-batch", type=int, default=8, help="Trainer's evaluation batch (default 8)")
    parser.add_argument("--peer-threads", type=int, help="Trainer's threads (default: as torch takes them)")
    parser.add_argument("--peer-processes", type=int, default=1, help="Trainer's processes (default 1)")
    parser.add_argument(
        "--strongest",
        action="store_true",
        help="in turns with 1 process of all cores' threads, 1 of 1 thread, and one of 1 thread per core;\n"
        "the claim is against the one that is fastest",
    )
    parser.add_argument(
        "--llamafactory", action="store_true", help="LLaMA-Factory too, a process a configuration"
    )
    parser.add_argument("--workers", type=int, help="loratune's workers (default: as tune search)")
    parser.add_argument("--slots", type=int, help="loratune's slots a worker (default: as tune search)")
    return parser


def main() -> None:
    """Make ready what was asked for, and compare."""
    arguments = make_parser().parse_args()
    # Ended from outside, it must not leave the side that runs behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if arguments.real and not REAL_DATA.exists():
        print(f"skipped: {REAL_DATA} is not there")
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="loratune-large-") as name:
        compare(arguments, make_large(Path(name)) if arguments.large else None)


def compare(arguments: argparse.Namespace, large: Path | None) -> None:
    """Run the rounds with the model that was asked for, or with the one in ``large``."""
    model = arguments.model or large or (REAL_MODEL if arguments.real else model_path())
    data = arguments.data or (REAL_DATA if arguments.real else data_path())
    job = job_of(arguments, model, data)
    trials = [LoraParams.from_dict(values) for values in job["configs"]]
    if arguments.strongest and (arguments.peer_threads or arguments.peer_processes != 1):
        sys.exit("--strongest measures peers of its own; leave --peer-threads and --peer-processes out")
    if arguments.llamafactory and (why := why_not(arguments.examples, first_record(Path(data)))):
        sys.exit(why)
    cores = len(os.sched_getaffinity(0))
    peers = peers_of(arguments, cores)
    rounds: list[Round] = []
    different = set()
    for number in range(arguments.repeats):
        ours, evaluations = loratune_side(job, arguments)
        same = [as_trainer_reports(evaluation, arguments.eval_batch) for evaluation in evaluations]
        theirs: dict[str, Side] = {}
        for peer in peers:
            side = theirs[peer.name] = trainer_side(job, peer)
            apart = [abs(a - b) / abs(b) for a, b in zip(same, side.losses, strict=True)]
            worst = max(range(len(apart)), key=apart.__getitem__)
            print(
                f"round {number + 1}, {peer.name}: ratio {side.seconds / ours.seconds:.2f}; final losses "
                f"differ by at most {apart[worst]:.1e} (trial {worst}, learning rate "
                f"{trials[worst].learning_rate:.2g}), median {statistics.median(apart):.1e}",
                flush=True,
            )
            for trial, one in enumerate(apart):
                if not one < SAME[arguments.device.partition(":")[0]]:
                    different.add(trial)
                    print(f"NOT THE SAME WORK: trial {trial} differs by {one:.1e}: {trials[trial]}")
        if arguments.llamafactory:
            theirs[f"LLaMA-Factory, {cores} processes of 1 thread"] = llamafactory_side(job, cores)
        rounds.append(Round(ours=ours, peers=theirs))
    print("\n" + report(f"{Path(model).name} on {Path(data).name}, {arguments.device}", len(trials), rounds))
    if different:
        sys.exit(f"not the same work: the ratios do not count, as trials {sorted(different)} differ")


if __name__ == "__main__":
    main()
