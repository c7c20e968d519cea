"""Everything that is to be known of a GPU, in one command of less than nine minutes.

    python benchmarks/gpu.py                             on a machine with a GPU
    python benchmarks/gpu.py --wheels FOLDER             what is missing there comes from a folder of wheels
    python benchmarks/gpu.py --only peers                whole trials beside Trainer, a command of its own
    python benchmarks/gpu.py --only memory               memory that runs out, a command of its own
    python benchmarks/gpu.py --device cpu --toy          every stage at toy size, to see that it runs

Needs no network, no model and no installed loratune: models are of random weights, made on the device from a
configuration; the tokenizer is the demo's; the package is found by a link to this clone. Wheels are looked
for in --wheels, $LORATUNE_WHEELS, wheels/ in this clone and wheels/ beside it. Without a GPU, or where a
package is missing, it says so in one line and ends with 1.

Each stage is a process of its own with a limit of time; one that fails or hangs does not stop the others. A
result is a line of JSON on stdout as it comes, the last thing printed is a table in Markdown. When time runs
out, stages are dropped from the end. Ends with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpu_stages import bare, table

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 525
"""All of it, so that ending, too, is done within nine minutes."""
LEAST_SECONDS = 10
"""A stage that would have less is dropped."""
OVER = 1.25
"""A stage may take its seconds this many times; what one leaves over, a later one has."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One process."""

    name: str
    """Also its module in gpu_stages/."""
    seconds: int
    """What it should take on a GPU."""
    question: str
    """What it answers, in words."""
    by_name: bool = False
    """Whether it runs only where ``--only`` names it: it takes a command of its own."""


STAGES = (
    Stage(name="versions", seconds=10, question="what is here"),
    Stage(name="right", seconds=75, question="is it right: kill -9 and resume, plain PEFT, K = 1 and 16"),
    Stage(name="shape_small", seconds=40, question="a micro-step at the shape of 0.5B"),
    Stage(name="shape_large", seconds=60, question="a micro-step at the shapes of 1.5B and 8B"),
    Stage(name="plain", seconds=45, question="the same steps in plain PEFT, one trial at a time"),
    Stage(name="probes", seconds=40, question="what this GPU and torch would allow"),
    Stage(name="sweep", seconds=90, question="0.5B over trials, batch and length"),
    Stage(name="profile", seconds=30, question="where the time of a micro-step goes"),
    Stage(name="four_bit", seconds=40, question="a base of 4 and of 8 bits"),
    Stage(name="boundary", seconds=45, question="what a round's end costs"),
    Stage(name="replay", seconds=50, question="a micro-step replayed from a recording"),
    Stage(
        name="memory",
        seconds=110,
        question="when memory runs out, at the start and in the midst",
        by_name=True,
    ),
    Stage(
        name="peers",
        seconds=400,
        question="whole trials beside as many Trainer processes as pay",
        by_name=True,
    ),
)


class Runner:
    """Runs stages one after another and keeps what they say.

    Args:
        arguments: the command line.
        folder: where stages may write.
        environment: theirs.
        program: what is started for a stage, this file.
    """

    def __init__(
        self,
        arguments: argparse.Namespace,
        folder: Path,
        environment: dict[str, str],
        program: Path | None = None,
    ) -> None:
        self.results: list[dict[str, Any]] = []
        self.ends: list[dict[str, Any]] = []
        self._arguments, self._folder, self._environment = arguments, folder, environment
        self._program = (program or Path(__file__)).resolve()
        self._deadline = time.monotonic() + arguments.seconds

    def run(self, stage: Stage) -> dict[str, Any]:
        """Run one stage; print and return how it ended."""
        left = self._deadline - time.monotonic()
        if left < LEAST_SECONDS:
            return self._ended(stage, status="dropped", why="no time was left")
        limit = left if self._arguments.toy else min(left, OVER * stage.seconds)
        began = time.monotonic()
        failures, skipped = 0, ""
        log = self._folder / f"{stage.name}.log"
        with log.open("wb") as output, self._process(stage, output) as (process, lines):
            for line in lines(began + limit):
                said = json.loads(line)
                if "skipped" in said and "result" not in said:
                    skipped = said["skipped"]
                    continue
                failures += "failed" in said
                self.results.append(said)
                print(line, flush=True)
            in_time = time.monotonic() < began + limit
            # Its last words are out, so its end is near.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20 if in_time else 0)
            code = process.poll()
        seconds = round(time.monotonic() - began, 1)
        if code is None:
            why = f"ended after its {limit:.0f} s" if not in_time else "did not end after its last result"
            return self._ended(stage, status="failed", seconds=seconds, why=why)
        if code != 0:
            why = f"exit code {code}: {last_line(log)}"
            return self._ended(stage, status="failed", seconds=seconds, why=why)
        if skipped:
            return self._ended(stage, status="skipped", seconds=seconds, why=skipped)
        if failures:
            why = f"{failures} of its results failed"
            return self._ended(stage, status="failed", seconds=seconds, why=why)
        return self._ended(stage, status="done", seconds=seconds)

    @contextlib.contextmanager
    def _process(self, stage: Stage, output: Any) -> Iterator[Any]:
        """Start a stage in a process group of its own; nothing of it is left at the end."""
        reading, writing = os.pipe()
        command = [sys.executable, str(self._program), "--stage", stage.name]
        command += ["--device", self._arguments.device, "--results", str(writing), "--folder"]
        command += [str(self._folder / stage.name), *(["--toy"] if self._arguments.toy else [])]
        (self._folder / stage.name).mkdir()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self._folder,
            env=self._environment,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        try:
            yield process, lambda until: lines_until(reading, until)
        finally:
            os.close(reading)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _ended(self, stage: Stage, **how: Any) -> dict[str, Any]:
        end = {"stage": stage.name, **how}
        self.ends.append(end)
        print(json.dumps(end), flush=True)
        return end


def lines_until(descriptor: int, until: float) -> Iterator[str]:
    """Yield the lines of a pipe as they come, until it closes or time is over."""
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return
            *whole, waiting = (waiting + chunk).split(b"\n")
            yield from (line.decode() for line in whole)


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:300] if said else "it said nothing"


def make_parser() -> argparse.ArgumentParser:
    """Return the command line; the last three are the stages' own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where (default cuda)")
    parser.add_argument("--toy", action="store_true", help="tiny models and few repeats: does it run?")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels for what is not installed")
    parser.add_argument("--only", nargs="+", choices=[stage.name for stage in STAGES], help="these stages")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for all of it (default {SECONDS})")
    parser.add_argument("--output", type=Path, help="a folder for results.jsonl, table.md and the logs")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


def run_stages(arguments: argparse.Namespace, folder: Path, environment: dict[str, str]) -> bool:
    """Run what was asked for and print the table; return whether all is well."""
    runner = Runner(arguments, folder, environment)
    wanted = [
        stage
        for stage in STAGES
        if (stage.name in arguments.only if arguments.only else arguments.toy or not stage.by_name)
    ]
    began = time.monotonic()
    try:
        for stage in wanted:
            runner.run(stage)
    finally:
        seconds = time.monotonic() - began
        questions = {stage.name: stage.question for stage in STAGES}
        where = (
            f"{arguments.device}, toy sizes: no figure means anything" if arguments.toy else arguments.device
        )
        title = f"{len(runner.ends)} stages in {seconds:.0f} s on {where}"
        text = table.markdown(title, questions, runner.ends, runner.results)
        if arguments.output is not None:
            arguments.output.mkdir(parents=True, exist_ok=True)
            lines = [json.dumps(line) + "\n" for line in (*runner.results, *runner.ends)]
            (arguments.output / "results.jsonl").write_text("".join(lines))
            (arguments.output / "table.md").write_text(text + "\n")
            logs = [
                f"== {log.relative_to(folder)}\n{log.read_text(errors='replace')[-20_000:]}"
                for log in sorted(folder.rglob("*.log"))
            ]
            (arguments.output / "logs.txt").write_text("\n".join(logs))
            for written in sorted(folder.glob("*/profile-*.txt")):
                shutil.copy(written, arguments.output / written.name)
        print("\n" + text, flush=True)
    return all(end["status"] in ("done", "skipped") for end in runner.ends)


def main() -> None:
    """Run everything, or, in a stage's own process, that stage."""
    arguments = make_parser().parse_args()
    if arguments.stage is not None:
        from gpu_stages import stage

        stage.run(arguments)
    # Ended from outside, it must leave no stage behind, and still print its table.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with tempfile.TemporaryDirectory(prefix="loratune-gpu-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            environment = bare.make_ready(ROOT, folder, arguments.wheels, arguments.device)
        except bare.Missing as missing:
            sys.exit(f"gpu.py: {missing}")
        if not run_stages(arguments, folder, environment):
            sys.exit(1)


if __name__ == "__main__":
    main()
