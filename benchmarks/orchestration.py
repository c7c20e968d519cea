"""What a search costs beside training: milliseconds a trial, and how that grows with the study.

    python benchmarks/orchestration.py                      100, 1,000 and 5,000 trials
    python benchmarks/orchestration.py --trials 1000
    python benchmarks/orchestration.py --quick              the trials between are drawn at random
    python benchmarks/orchestration.py --proposals 8        what forgetting costs: losses over so many seeds

One worker that trains nothing (objectives/testing/fake.py) on a made-up surface, everything else as in a
real search: sampler, rungs, database, Optuna's tables. Milliseconds are of the processor, so that neighbours
on the machine count little; what the worker itself takes is left out. Then the commands that read the study.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from loratune.objectives.base import WorkerEvent
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker
from loratune.objectives.testing.surface import Surface, unit
from loratune.search import boundary, loop, trial_source
from loratune.search.samplers.base import Past
from loratune.search.samplers.kinds import propose
from loratune.search.study_record import create
from loratune.search.study_state import StudyState
from loratune.spaces.presets import preset
from loratune.storage.store import Store
from loratune.study.budget import ROUNDS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from loratune.study.samplers import Random, Tpe
from loratune.study.study_config import StudyConfig

MARKS = (100, 1000, 5000)
"""After so many trials the last hundred are looked at."""
CHECKS = (100, 300, 1000, 2000)
"""After so many trials the losses are compared."""
SPAN = 100
SLOTS = 8
PARTS = ("asking", "deciding", "recording", "mirroring", "the rest")
WRITES = ("add_trial", "begin_attempt", "record_round", "add_event", "keep_adapters")
LEAD = 30
"""With ``--quick`` everything is as in a search from so many trials before a hundred that is measured."""


class Ended(Exception):  # noqa: N818 - no fault
    """The search has come to where it trains again."""


@dataclasses.dataclass
class Account:
    """Processor time by what took it and by hundreds of trials; the innermost part alone counts."""

    hundreds: dict[int, dict[str, float]] = dataclasses.field(default_factory=dict)
    """Seconds by part, by how many hundreds of trials had begun."""
    trials: int = 0
    """Trials begun."""
    parts: list[str] = dataclasses.field(default_factory=lambda: ["the rest"])
    """What takes time at this moment, innermost last."""
    since: float = dataclasses.field(default_factory=time.process_time)
    """Since when the innermost does."""

    def turn(self) -> None:
        """Book the time until now on the innermost part."""
        now = time.process_time()
        hundred = self.hundreds.setdefault(max(0, self.trials - 1) // SPAN, {})
        hundred[self.parts[-1]] = hundred.get(self.parts[-1], 0.0) + now - self.since
        self.since = now

    @contextlib.contextmanager
    def on(self, part: str) -> Iterator[None]:
        """Book what is done inside on a part."""
        self.turn()
        self.parts.append(part)
        try:
            yield
        finally:
            self.turn()
            self.parts.pop()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time is booked on a part."""

        def calling(*args: Any, **options: Any) -> Any:
            with self.on(part):
                return call(*args, **options)

        return calling


class TimedStore:
    """A store whose writes are booked."""

    def __init__(self, store: Store, account: Account, growing: Callable[[], bool]) -> None:
        self._store = store
        self._account = account
        self._growing = growing

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name == "add_trial":
            return self._account.timed("recording", self._adding)
        return self._account.timed("recording", found) if name in WRITES else found

    def _adding(self, *args: Any, **options: Any) -> None:
        self._store.add_trial(*args, **options)
        self._account.turn()
        self._account.trials += 1

    def project(self, *args: Any, **options: Any) -> str | None:
        """Write Optuna's copy, but for trials between those that are looked at."""
        return None if self._growing() else self._store.project(*args, **options)


class TimedWorker(FakeWorker):
    """A fake worker whose own time is booked apart."""

    account: Account

    def add(self, *args: Any, **options: Any) -> None:
        """Take a trial up."""
        with self.account.on("worker"):
            super().add(*args, **options)

    def start(self, save_to: Path) -> None:
        """Begin a round."""
        with self.account.on("worker"):
            super().start(save_to)

    def poll(self, timeout: float) -> WorkerEvent | None:
        """Return the next event."""
        with self.account.on("worker"):
            return super().poll(timeout)

    def remove(self, trial: int) -> None:
        """Free a slot."""
        with self.account.on("worker"):
            super().remove(trial)


class TimedFleet(FakeFleet):
    """Makes them."""

    def __init__(self, account: Account) -> None:
        super().__init__(FakePlan(slots=SLOTS))
        self.account = account

    def __call__(self, index: int) -> FakeWorker:
        """Return a fresh worker."""
        worker = TimedWorker(index, fleet=self)
        worker.account = self.account
        return worker


class BeginningWorker(FakeWorker):
    """A worker that ends the search where it is to train."""

    def start(self, save_to: Path) -> None:  # noqa: ARG002
        """Train nothing."""
        raise Ended


def search(path: Path, trials: int, marks: tuple[int, ...], *, quick: bool) -> Account:
    """Run a study of so many trials and return what took time in its hundreds."""
    account = Account()

    def growing() -> bool:
        return quick and not any(mark - SPAN - LEAD <= account.trials <= mark for mark in marks)

    def proposing(*args: Any, **options: Any) -> Any:
        return propose(*args, **{**options, "sampler": Random() if growing() else options["sampler"]})

    propose = trial_source.propose
    patches = (
        (trial_source, "propose", "asking", proposing),
        (StudyState, "history", "asking", StudyState.history),
        (boundary, "judge", "deciding", boundary.judge),
        (StudyState, "rungs", "deciding", StudyState.rungs),
        (StudyState, "project", "mirroring", StudyState.project),
    )
    with contextlib.ExitStack() as stack:
        for place, name, part, call in patches:
            stack.enter_context(mock.patch.object(place, name, account.timed(part, call)))
        store = stack.enter_context(Store.open(str(path), mode="create"))
        config = study_config()
        facts = FakeWorker(plan=FakePlan(slots=SLOTS)).prepare(config.objective)
        study = create(store, name="orchestration", config=config, facts=facts, trials=trials)
        watched: Any = TimedStore(store, account, growing)
        loop.run(watched, study, factory=TimedFleet(account))
    account.turn()
    return account


def study_config() -> StudyConfig:
    """Return the study: the ``tiny`` preset on a model and data that nobody reads."""
    tiny = preset("tiny")
    objective = ObjectiveConfig(
        model=ModelConfig(name_or_path="model"),
        data=DataConfig(train="data.jsonl"),
        batch_sizes=tiny.space.batch_sizes(),
        lora_ranks=tiny.space.lora_ranks(),
        lora_targets=tiny.space.lora_targets(),
    )
    first = (tiny.space.closest(tiny.default),)
    return StudyConfig(
        space=tiny.space, objective=objective, preset="tiny", default_source="measured", first=first
    )


def table(account: Account, marks: tuple[int, ...]) -> str:
    """Return the milliseconds a trial of the hundreds that end at the marks."""
    lines = [f"| trials | ms a trial | {' | '.join(PARTS)} |", "|---" * (len(PARTS) + 2) + "|"]
    for mark in marks:
        spent = account.hundreds.get(mark // SPAN - 1, {})
        found = [1000 * spent.get(part, 0.0) / SPAN for part in PARTS]
        lines.append(f"| {mark:,} | {sum(found):.1f} | {' | '.join(f'{one:.1f}' for one in found)} |")
    return "\n".join(lines)


def resumed(path: Path) -> tuple[float, float]:
    """Return the seconds, by the clock and of the processor, until a study of one trial more trains."""
    wall, own = time.perf_counter(), time.process_time()
    with Store.open(str(path), mode="write") as store, contextlib.suppress(Ended):
        study = store.study("orchestration")
        more = dataclasses.replace(study, trials=study.trials + 1)
        fleet = FakeFleet(FakePlan(slots=SLOTS))
        loop.run(store, more, factory=lambda index: BeginningWorker(index, fleet=fleet))
    return time.perf_counter() - wall, time.process_time() - own


def command(folder: Path, *words: str) -> tuple[float, float]:
    """Return the seconds, by the clock and of the processor, of a command in a folder."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "loratune", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(folder: Path) -> str:
    """Return how long the commands that read a study take, and a resumed search until it trains."""
    found = {
        "`tune list`": command(folder, "list"),
        "`tune show`": command(folder, "show"),
        "`tune report`": command(folder, "report", "-o", "report.html"),
        "`tune resume`, until a worker trains": resumed(folder / "tune.db"),
    }
    lines = ["| | seconds | of the processor |", "|---|---|---|"]
    lines += [f"| {name} | {wall:.2f} | {own:.2f} |" for name, (wall, own) in found.items()]
    return "\n".join(lines)


def proposals(seeds: int, checks: tuple[int, ...]) -> str:
    """Return a table of losses after so many trials, with what the sampler remembers and with all history."""
    lines = [
        "| trials | seed | best, remembered | best, all | last hundred, remembered | last hundred, all |"
    ]
    lines.append("|---|---|---|---|---|---|")
    found: dict[int, list[tuple[float, ...]]] = {check: [] for check in checks}
    for seed in range(seeds):
        bounded = imagined(seed, max(checks), Tpe().remembered)
        whole = imagined(seed, max(checks), max(checks))
        for check in checks:
            best = tuple(min(losses[:check]) for losses in (bounded, whole))
            last = tuple(statistics.median(losses[check - SPAN : check]) for losses in (bounded, whole))
            found[check].append((*best, *last))
            lines.append(f"| {check:,} | {seed} | {' | '.join(f'{one:.4f}' for one in (*best, *last))} |")
    for check, rows in found.items():
        means = [statistics.fmean(column) for column in zip(*rows, strict=True)]
        lines.append(f"| {check:,} | mean | {' | '.join(f'{one:.4f}' for one in means)} |")
    return "\n".join(lines)


def imagined(seed: int, trials: int, remembered: int) -> list[float]:
    """Return the losses of a study's trials, one after another on the made-up surface, none stopped early."""
    space, surface = preset("tiny").space, Surface()
    history: list[Past] = []
    losses: list[float] = []
    sampler = Tpe(remembered=remembered)
    for number in range(1, trials + 1):
        found = propose(space, history, number=number, seed=seed, sampler=sampler)
        assert found is not None, "TPE always has something to try"
        params = found[0]
        diverged = surface.diverges_at(params) is not None
        loss = surface.loss(params, ROUNDS) + 0.02 * unit(f"{seed} {number}", "imagined")
        losses.append(surface.base if diverged else loss)
        history.append(
            Past(suggestion=space.encode(params), state="diverged")
            if diverged
            else Past(suggestion=space.encode(params), state="complete", value=loss, curve={ROUNDS: loss})
        )
    return losses


def make_parser() -> argparse.ArgumentParser:
    """Return what the program may be asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=MARKS[-1], help="trials of the study, in hundreds")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="between the hundreds that are measured trials are drawn at random and not mirrored",
    )
    parser.add_argument(
        "--proposals", type=int, metavar="SEEDS", help="compare what is proposed with all history instead"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the study there, measure no command"
    )
    return parser


def main() -> None:
    """Measure and print."""
    arguments = make_parser().parse_args()
    if arguments.proposals is not None:
        print(proposals(arguments.proposals, tuple(check for check in CHECKS if check <= arguments.trials)))
        return
    trials = max(SPAN, arguments.trials // SPAN * SPAN)
    marks = (*(mark for mark in MARKS if mark < trials), trials)
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.keep or Path(place)
        account = search(folder / "tune.db", trials, marks, quick=arguments.quick)
        print(table(account, marks))
        if arguments.keep is not None:
            return
        print(f"\nA study of {trials:,} trials:\n")
        print(commands(folder))


if __name__ == "__main__":
    main()
