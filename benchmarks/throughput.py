"""Trials per hour: loratune beside Optuna with Transformers' Trainer and PEFT, one trial at a time.

    python benchmarks/throughput.py                      the embedded demo
    python benchmarks/throughput.py --real               stories260K on disfl_qa, from ../shared
    python benchmarks/throughput.py --model M --data D [--space default] [--device cuda]

Both sides train the same trials in full (no pruning): same configurations, drawn once from the space,
same examples in the same order, same adapters to begin with, evaluated on the same sets at the same
points. (A) is the command ``tune search --pruner none`` as a user types it, (B) is trainer_peer.py. Each
runs in processes of its own, A B A B; the ratio is the median of the rounds'. Speed counts only where
the final losses agree, so their greatest relative difference is printed with it, and a trial that ended
early on one side makes the call fail.

Learning rates are drawn up to --highest-rate: above it these small models no longer train stably, two
correct programs drift apart by rounding alone, and there would be nothing to compare; a step costs the
same at any rate.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import yaml
from loratune.demo import data_path, model_path
from loratune.search.study import facts_of
from loratune.spaces.budget import QUANTA
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.spaces.space import Dimension, SearchSpace
from loratune.storage.records import Evaluation
from loratune.storage.store import Store

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL_MODEL = SHARED / "models" / "stories260K"
REAL_DATA = SHARED / "data" / "disfl_qa" / "train_alpaca.jsonl"
SAME = 1e-3
"""Final losses that differ by more than this share come from different work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """One side's run."""

    wall: float
    """Seconds from the start of the process to its end."""
    seconds: float
    """Seconds of the study alone, start-up left out."""
    cpu: float
    """Processor time of all its processes, start-up included."""
    losses: tuple[float, ...]
    """Final eval loss of each trial, in the order of the configurations."""
    start: str
    """What the start-up was spent on, in words."""
    peak_pss: int
    """Most memory of all its processes together, shared pages counted once, bytes."""
    peak_rss: int
    """The same with shared pages counted in every process."""
    device_peak: int | None = None
    """Most memory on the GPU, bytes; None without one."""
    notes: tuple[str, ...] = ()
    """What else there is to say."""


class Memory(threading.Thread):
    """Watches the memory of a process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pss = self.rss = 0
        self._root = pid
        self._over = threading.Event()

    def run(self) -> None:
        """Look twice a second."""
        while not self._over.wait(0.5):
            pss = rss = 0
            try:
                root = psutil.Process(self._root)
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in family:
                try:
                    resident = process.memory_info().rss
                except psutil.Error:
                    continue
                rss += resident
                pss += shared_once(process.pid) or resident
            self.pss, self.rss = max(self.pss, pss), max(self.rss, rss)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def shared_once(pid: int) -> int | None:
    """Return a process's proportional set size in bytes, None where the system does not say."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def draw(space: SearchSpace, default: LoraParams, count: int, seed: int, highest: float) -> list[LoraParams]:
    """Return ``count`` different configurations: the default (trial 0 of every study), then drawn ones."""
    rates = space["learning_rate"]
    low, high = rates.bounds
    calm = space.replace(
        Dimension(name="learning_rate", low=float(low), high=min(float(high), highest), log=rates.log)
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = {default: None}
    while len(drawn) < count:
        drawn[calm.decode(study.ask(calm.distributions()).params)] = None
    return list(drawn)[:count]


def watched(command: list[str], folder: Path, threads: int | None = None) -> tuple[float, float, Memory]:
    """Run a command to its end; return its seconds, its processor time and its memory.

    Its output is shown if it fails. Its threads are as many as torch takes by itself, whatever this
    process was told, unless they are given.
    """
    log = folder / "output.log"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    environment |= {"HF_HUB_OFFLINE": "1", "TUNE_PLAIN": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    with log.open("wb") as output:
        began, spent = time.perf_counter(), processor_time()
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment)
        memory = Memory(process.pid)
        memory.start()
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        wall = time.perf_counter() - began
        memory.stop()
    if code != 0:
        sys.exit(f"{' '.join(command[:4])} … ended with {code}:\n{log.read_text()[-3000:]}")
    return wall, processor_time() - spent, memory


def processor_time() -> float:
    """Return the processor time of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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
        wall, cpu, memory = watched(command, folder)
        with Store.open(str(folder / "tune.db"), mode="read") as store:
            study = store.study(None)
            facts = facts_of(study)
            (finished,) = store.events(study.id, "finished")
            trials = store.trials(study.id)
            evaluations = store.evaluations(study.id, QUANTA)
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
        on_gpu = facts.model.device.startswith("cuda")
        share = detail["orchestration_seconds"] / detail["seconds"]
        side = Side(
            wall=wall,
            seconds=detail["seconds"],
            cpu=cpu,
            losses=tuple(trial.value or math.nan for trial in trials),
            start=f"{wall - detail['seconds']:.1f} s: first worker's start, self-check, speed, plan, report",
            peak_pss=memory.pss,
            peak_rss=memory.rss,
            device_peak=sum(peaks.values()) if on_gpu else None,
            notes=(
                f"{len(begun)} workers of {facts.slots} slots, the last of which began "
                f"{max(begun.values()) - min(begun.values()):.1f} s after the first",
                f"base weights in memory {len(begun)} times, {mib(facts.memory.base_bytes)} each",
                f"orchestration {100 * share:.1f} % of the study",
                f"a trial: {facts.budget.examples} examples, evaluated on {facts.budget.eval_examples} after "
                f"quanta 1, 2, 4 and {facts.budget.final_eval_examples} at the end",
            ),
        )
        return side, [evaluations[trial.number] for trial in trials]


def trainer_side(job: dict[str, Any], threads: int | None) -> Side:
    """Run trainer_peer.py."""
    with tempfile.TemporaryDirectory(prefix="loratune-throughput-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        peer = Path(__file__).with_name("trainer_peer.py")
        command = [sys.executable, str(peer), "job.json", "result.json"]
        wall, cpu, memory = watched(command, folder, threads)
        result = json.loads((folder / "result.json").read_text())
    parts = ", ".join(f"{key} {result[key]:.1f}" for key in ("imports", "model", "tokens"))
    return Side(
        wall=wall,
        seconds=result["seconds"],
        cpu=cpu,
        losses=tuple(losses[-1] for losses in result["losses"]),
        start=f"{wall - result['seconds']:.1f} s: {parts}",
        peak_pss=memory.pss,
        peak_rss=memory.rss,
        device_peak=result["device_peak"],
        notes=(
            f"{result['threads']} threads; base weights in memory once",
            f"seconds of a trial: median {statistics.median(result['trial_seconds']):.2f}",
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


def mib(size: float) -> str:
    """Return bytes in words."""
    return f"{size / 2**20:,.0f} MiB" if size >= 10 * 2**20 else f"{size / 2**20:.1f} MiB"


def report(name: str, trials: int, rounds: list[tuple[Side, Side]]) -> None:
    """Print the rounds and what they come to."""
    print(f"\n{name}: {trials} trials in full, {len(rounds)} rounds\n")
    print("| round | side | trials/h | with start-up | start-up | processor time | peak PSS | peak RSS |")
    print("|---|---|---|---|---|---|---|---|")
    for number, sides in enumerate(rounds, start=1):
        for label, side in zip(("loratune", "Trainer"), sides, strict=True):
            pace, whole = 3600 * trials / side.seconds, 3600 * trials / side.wall
            cells = (number, label, f"{pace:.0f}", f"{whole:.0f}", f"{side.wall - side.seconds:.1f} s")
            cells += (f"{side.cpu:.0f} s", mib(side.peak_pss), mib(side.peak_rss))
            print(f"| {' | '.join(map(str, cells))} |")
    for label, side in zip(("loratune", "Trainer"), rounds[-1], strict=True):
        peak = () if side.device_peak is None else (f"peak on the GPU {mib(side.device_peak)}",)
        print(f"\n{label}: start-up {side.start}")
        print("\n".join(f"{label}: {note}" for note in (*side.notes, *peak)))
    ratios = [b.seconds / a.seconds for a, b in rounds]
    walls = [b.wall / a.wall for a, b in rounds]
    print(f"\nratio of trials per hour: {summary(ratios)}")
    print(f"with start-up: {summary(walls)}")
    print(f"ratio of processor time, start-up included: {summary([b.cpu / a.cpu for a, b in rounds])}")


def summary(ratios: list[float]) -> str:
    """Return the median and the range."""
    return f"{statistics.median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"


def make_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="a folder or Hub id (default: the demo's)")
    parser.add_argument("--data", help="a file of records (default: the demo's)")
    parser.add_argument(
        "--real", action="store_true", help="stories260K on disfl_qa; skips without ../shared"
    )
    parser.add_argument("--trials", type=int, default=64, help="trials of each run (default 64)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of A and B (default 3)")
    parser.add_argument("--space", default="tiny", choices=sorted(PRESETS), help="preset (default tiny)")
    parser.add_argument("--seed", type=int, default=0, help="of configurations and data order (default 0)")
    parser.add_argument("--highest-rate", type=float, default=1e-2, help="of learning rates (default 1e-2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--examples", type=int, help="training examples of a trial (default: as tune search)")
    parser.add_argument("--eval-examples", type=int, help="of the final evaluation (default: as tune search)")
    parser.add_argument("--eval-batch", type=int, default=8, help="Trainer's evaluation batch (default 8)")
    parser.add_argument("--peer-threads", type=int, help="Trainer's threads (default: as torch takes them)")
    parser.add_argument("--workers", type=int, help="loratune's workers (default: as tune search)")
    parser.add_argument("--slots", type=int, help="loratune's slots a worker (default: as tune search)")
    return parser


def main() -> None:
    """Run the rounds and print what they come to."""
    arguments = make_parser().parse_args()
    # Ended from outside, it must not leave the side that runs behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    if arguments.real and not REAL_DATA.exists():
        print(f"skipped: {REAL_DATA} is not there")
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    model = arguments.model or (REAL_MODEL if arguments.real else model_path())
    data = arguments.data or (REAL_DATA if arguments.real else data_path())
    preset = PRESETS[arguments.space]
    trials = draw(preset.space, preset.default, arguments.trials, arguments.seed, arguments.highest_rate)
    job = {
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
    rounds: list[tuple[Side, Side]] = []
    for number in range(arguments.repeats):
        ours, evaluations = loratune_side(job, arguments)
        theirs = trainer_side(job, arguments.peer_threads)
        rounds.append((ours, theirs))
        same = [as_trainer_reports(evaluation, arguments.eval_batch) for evaluation in evaluations]
        apart = [abs(a - b) / abs(b) for a, b in zip(same, theirs.losses, strict=True)]
        worst = max(range(len(apart)), key=apart.__getitem__)
        print(
            f"round {number + 1}: ratio {theirs.seconds / ours.seconds:.2f}; final losses differ by at most "
            f"{apart[worst]:.1e} (trial {worst}, learning rate {trials[worst].learning_rate:.2g}), "
            f"median {statistics.median(apart):.1e}",
            flush=True,
        )
        for trial, one in enumerate(apart):
            if not one < SAME:
                print(f"NOT THE SAME WORK: trial {trial} differs by {one:.1e}: {trials[trial]}")
    report(f"{Path(model).name} on {Path(data).name}, {arguments.device}", len(trials), rounds)


if __name__ == "__main__":
    main()
