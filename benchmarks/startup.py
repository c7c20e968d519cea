"""How long a search takes until it trains, beside the imports that it cannot do without.

    python benchmarks/startup.py                          the demo, 2 workers, median of 3 rounds
    python benchmarks/startup.py --real                   stories260K on disfl_qa, from ../shared
    python benchmarks/startup.py --large                  34 million random weights on the demo's data
    python benchmarks/startup.py --beside FOLDER          in turn with the package `loratune` in that folder
    python benchmarks/startup.py --words list             seconds of `tune list` and `tune --help` instead

In each round one after another: an interpreter that imports torch, transformers and peft and nothing more;
then ``tune search``, in a folder of its own, until each worker's log says that its first micro-step has
ended, after which it is ended. So a ratio to the imports holds whatever else the machine does meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import loratune
from loratune.demo import data_path
from throughput_parts.large_model import make_large

SHARED = Path(__file__).resolve().parents[2] / "shared"
REAL_MODEL = SHARED / "models" / "stories260K"
REAL_DATA = SHARED / "data" / "disfl_qa" / "train_alpaca.jsonl"

IMPORTS = "import torch, transformers, peft"
PATIENCE = 600.0
"""Seconds after which a search that does not train has failed."""

_FIRST = re.compile(r"^(\S+ \S+) INFO \S+: the first micro-step has ended$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Started:
    """Seconds from the command to a worker's first trained micro-step."""

    first: float
    """Of the quickest worker."""
    last: float
    """Of the slowest."""


def environment(package: Path) -> dict[str, str]:
    """Return the environment of a command of the package ``loratune`` in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return {**kept, "PYTHONPATH": str(package), "HF_HUB_OFFLINE": "1", "TUNE_PLAIN": "1"}


def seconds(words: Sequence[str], package: Path, cwd: Path) -> tuple[float, float]:
    """Run a program to its end; return its seconds by the clock and of the processor."""
    began, spent = time.perf_counter(), _processor_time()
    subprocess.run(
        [sys.executable, *words],
        env=environment(package),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - began, _processor_time() - spent


def first_steps(logs: Path) -> list[float]:
    """Return when each worker's first micro-step ended, by the clock, of those that have got there.

    A worker that was started again says it again; its first time counts.
    """
    found = []
    for log in sorted(logs.glob("worker-*.log")):
        said = _FIRST.search(log.read_text(encoding="utf-8"))
        if said is not None:
            found.append(datetime.datetime.strptime(said[1], "%Y-%m-%d %H:%M:%S,%f").timestamp())
    return found


def start(words: Sequence[str], package: Path, workers: int) -> Started:
    """Begin a search in a new folder, and end it as soon as all of its workers train."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        said = folder / "said"
        command = [sys.executable, "-m", "loratune", "search", "--trials=100", f"--workers={workers}", *words]
        began = time.time()
        with said.open("wb") as output:
            search = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(package),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            steps: list[float] = []
            while len(steps) < workers:
                if search.poll() is not None or time.time() - began > PATIENCE:
                    sys.exit(f"the search did not come to train:\n{said.read_text()[-3000:]}")
                time.sleep(0.05)
                steps = first_steps(folder / "tune-artifacts" / "logs")
        finally:
            if search.poll() is None:
                search.send_signal(signal.SIGINT)
                search.send_signal(signal.SIGINT)
                search.wait(60)
    return Started(first=min(steps) - began, last=max(steps) - began)


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _middle(values: Sequence[float]) -> str:
    return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"


def measure_start(packages: dict[str, Path], words: Sequence[str], rounds: int, workers: int) -> None:
    """Print the seconds of the imports, and of each package to its first and its last worker's training."""
    imports: list[float] = []
    found: dict[str, list[Started]] = {name: [] for name in packages}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(rounds):
            imports.append(seconds(["-c", IMPORTS], next(iter(packages.values())), Path(name))[0])
            for package, place in packages.items():
                found[package].append(start(words, place, workers))
    print(f"{'imports alone':24}{_middle(imports)}")
    parts: dict[str, Callable[[Started], float]] = {
        "first worker": lambda one: one.first,
        "last worker": lambda one: one.last,
    }
    for package, started in found.items():
        for part, of in parts.items():
            values = [of(one) for one in started]
            ratio = statistics.median(value / alone for value, alone in zip(values, imports, strict=True))
            print(f"{f'{package}, {part}':24}{_middle(values)}   {ratio:.2f} times the imports")


def measure_words(packages: dict[str, Path], words: Sequence[str], rounds: int) -> None:
    """Print the seconds of commands on a study of 100 trials, by the clock and of the processor."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make_study(folder, packages["now"])
        for word in (*words, "--help"):
            taken: dict[str, list[tuple[float, float]]] = {package: [] for package in packages}
            for _ in range(rounds):
                for package, place in packages.items():
                    taken[package].append(seconds(["-m", "loratune", word], place, folder))
            for package, runs in taken.items():
                wall, cpu = zip(*runs, strict=True)
                print(f"{f'{package}, tune {word}':24}{_middle(wall)}   of the processor {_middle(cpu)}")


def _make_study(folder: Path, package: Path) -> None:
    """Make a study of 100 trials whose workers train nothing."""
    orchestration = Path(__file__).with_name("orchestration.py")
    words = [str(orchestration), "--trials", "100", "--keep", str(folder)]
    seconds(words, package, folder)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--real", action="store_true", help="stories260K on disfl_qa; skips without ../shared"
    )
    parser.add_argument("--large", action="store_true", help="34 million random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--beside", type=Path, help="a folder that holds another version of the package")
    parser.add_argument("--words", nargs="+", help="commands that only look, such as list and show")
    arguments = parser.parse_args()
    if arguments.real and not REAL_DATA.exists():
        print(f"skipped: {REAL_DATA} is not there")
        return
    here = Path(loratune.__file__).resolve().parent
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "loratune").symlink_to(here)
        packages = {"now": Path(name)}
        if arguments.beside is not None:
            packages = {"beside": arguments.beside.resolve(), **packages}
        print(f"load {os.getloadavg()[0]:.1f} at the beginning")
        if arguments.words:
            measure_words(packages, arguments.words, arguments.rounds)
        else:
            words = [f"--model={REAL_MODEL}", f"--data={REAL_DATA}"] if arguments.real else []
            if arguments.large:
                words = [f"--model={make_large(Path(name) / 'large')}", f"--data={data_path()}"]
            measure_start(packages, words, arguments.rounds, arguments.workers)
        print(f"load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
