"""A search beside what many do instead: five learning rates, everything else left at its default.

    tune search --trials 100
    python benchmarks/learning_rate_grid.py [STUDY] [--storage tune.db]

Reads a finished study and trains two grids of five learning rates, spread evenly in log over the study's
range, at the values of its trial 0 otherwise:

    equal examples    each point gets a fifth of the training examples that the whole search spent
    five full trials  each point gets what one full trial of the search got

Both are measured on the study's own final evaluation set, with its seed and its data order (a longer
trial reads on in it), and compared with the best trial of the search example by example. The search chose
its best of many on that same set, a grid of five, which favours the search; by how much is not measured. The
intervals are over examples and know nothing of the luck of a run.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import tempfile
import time
from pathlib import Path

import numpy as np
from loratune.objectives.base import Done, RoundProgress, SlotResult
from loratune.objectives.workers.process import ProcessWorker
from loratune.reports.paired import paired_interval
from loratune.spaces.params import LoraParams
from loratune.storage.store import Store
from loratune.study.budget import ROUNDS
from loratune.study.config import ObjectiveConfig
from loratune.study.facts import Facts
from loratune.study.ranking import best_trial
from loratune.study.records import Evaluation

POINTS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One trained learning rate."""

    params: LoraParams
    """The configuration."""
    evaluation: Evaluation | None
    """Its losses on the final evaluation set; None where it diverged."""

    @property
    def loss(self) -> float:
        """The final loss, infinite where it diverged."""
        return math.inf if self.evaluation is None else self.evaluation.loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """One trained grid."""

    name: str
    """In words."""
    examples: int
    """Training examples of each point."""
    points: tuple[Point, ...]
    """Lowest learning rate first."""
    seconds: float
    """How long it took."""

    @property
    def best(self) -> Point:
        """The point of the lowest loss."""
        return min(self.points, key=lambda point: point.loss)


def run_grid(
    name: str, configs: list[LoraParams], objective: ObjectiveConfig, folder: Path, workers: int
) -> Grid:
    """Train some configurations to their end, shared out among worker processes."""
    began = time.monotonic()
    count = min(workers, len(configs))
    slots = -(-len(configs) // count)
    objective = dataclasses.replace(objective, slots=slots)
    crew: list[ProcessWorker] = []
    try:
        facts: Facts | None = None
        for index in range(count):
            worker = ProcessWorker(index, folder / f"worker-{index}.log")
            crew.append(worker)
            facts = worker.prepare(objective)
            objective = dataclasses.replace(objective, geometry=facts.geometry)
            for number in range(index, len(configs), count):
                worker.add(number, configs[number], seed=objective.seed, attempt=1, resume_from=None)
        assert facts is not None
        last: dict[int, SlotResult] = {}
        for worker in crew:
            worker.start(folder)
        left = {worker.index: ROUNDS for worker in crew}
        while any(left.values()):
            for worker in crew:
                event = worker.poll(0.05) if left[worker.index] else None
                if isinstance(event, Done):
                    last.update({result.trial: result for result in event.results})
                    left[worker.index] -= 1
                    if left[worker.index]:
                        worker.start(folder)
                elif event is not None and not isinstance(event, RoundProgress):
                    raise SystemExit(f"{name}: {event.reason}")
    finally:
        for worker in crew:
            worker.close()
    tokens = np.asarray(facts.eval_tokens, dtype=np.int64)
    points = []
    for number, params in enumerate(configs):
        result, evaluation = last[number], None
        if result.diverged is None and result.eval_losses is not None:
            losses = np.asarray(result.eval_losses, dtype=np.float32)
            evaluation = Evaluation(losses=losses, tokens=tokens)
        points.append(Point(params=params, evaluation=evaluation))
    return Grid(
        name=name, examples=facts.budget.examples, points=tuple(points), seconds=time.monotonic() - began
    )


def rates(low: float, high: float) -> list[float]:
    """Return the grid's learning rates, evenly spread in log.

    >>> [f"{rate:.2g}" for rate in rates(1e-4, 1e-2)]
    ['0.0001', '0.00032', '0.001', '0.0032', '0.01']
    """
    return [low * (high / low) ** (point / (POINTS - 1)) for point in range(POINTS)]


def versus(best: Evaluation, point: Point) -> str:
    """Return the search's best loss minus a point's, with its paired interval, in words."""
    interval = None if point.evaluation is None else paired_interval(best, point.evaluation)
    if interval is None:
        return "–"
    words = "" if interval.distinguishable else ", not distinguishable"
    return f"{interval.difference:+.4f} ({interval.low:+.4f} to {interval.high:+.4f}{words})"


def main() -> None:
    """Train the grids and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", nargs="?", help="a study that has ended (default: the latest)")
    parser.add_argument("--storage", default="tune.db", help="its database (default tune.db)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of a grid (default 2)")
    arguments = parser.parse_args()
    with Store.open(arguments.storage, mode="read") as store:
        study = store.study(arguments.study)
        trials = store.trials(study.id)
        evaluations = store.evaluations(study.id, ROUNDS)
    config, facts = study.config, study.facts
    best = best_trial(trials)
    if best is None:
        raise SystemExit(f"study {study.name} has no complete trial")
    search = evaluations[best.number]
    budget, default = facts.budget, config.first[0]
    spent = sum(trial.rounds for trial in trials) * budget.round_examples
    multiple = ROUNDS * math.lcm(*budget.batch_sizes)
    share = max(multiple, round(spent / POINTS / multiple) * multiple)
    low, high = config.space["learning_rate"].bounds
    configs = [dataclasses.replace(default, learning_rate=rate) for rate in rates(float(low), float(high))]
    objective = dataclasses.replace(
        config.objective,
        batch_sizes=budget.batch_sizes,
        geometry=None,
        eval_examples=budget.final_eval_examples,
    )
    grids = []
    with tempfile.TemporaryDirectory(prefix="loratune-grid-") as name:
        for words, examples in (("equal examples", share), ("five full trials", budget.examples)):
            folder = Path(name) / str(examples)
            own = dataclasses.replace(objective, examples=examples, cache_dir=str(Path(name) / "cache"))
            grids.append(run_grid(words, configs, own, folder, arguments.workers))
    for grid in grids:
        measured = next((p.evaluation for p in grid.points if p.evaluation is not None), None)
        if measured is not None and not np.array_equal(measured.tokens, search.tokens):
            raise SystemExit("the grid was measured on other examples than the search; its data has changed")
    print(f"study {study.name}: {len(trials)} trials, {spent} training examples in all")
    print(f"base model {facts.base_loss:.4f}; trial 0 ", end="")
    print("diverged" if 0 not in evaluations else f"{evaluations[0].loss:.4f}")
    print(f"grid: {', '.join(f'{p.learning_rate:.2g}' for p in configs)}; otherwise as trial 0\n")
    print("| | examples a trial | in all | learning rate | loss | search's best minus this |")
    print("|---|---|---|---|---|---|")
    print(
        f"| search, best of {len(trials)} (trial {best.number}) | {budget.examples} | {spent} | "
        f"{best.params.learning_rate:.2g} | {search.loss:.4f} | |"
    )
    for grid in grids:
        cells = (f"grid, {grid.name}", grid.examples, POINTS * grid.examples)
        found = f"{grid.best.params.learning_rate:.2g} | {grid.best.loss:.4f} | {versus(search, grid.best)}"
        print(f"| {' | '.join(map(str, cells))} | {found} |")
    print("\n95 % intervals over the validation examples; they know nothing of the luck of a run.\n")
    for grid in grids:
        each = ", ".join(f"{point.params.learning_rate:.2g}: {point.loss:.4f}" for point in grid.points)
        print(f"{grid.name} ({grid.seconds:.0f} s): {each}")


if __name__ == "__main__":
    main()
