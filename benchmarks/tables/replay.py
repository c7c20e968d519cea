"""Search policies replayed on trained curves: what a policy chooses, and what that is worth.

    python benchmarks/tables/replay.py benchmarks/tables/demo.parquet --budget 30 --seeds 100

A proposed configuration becomes the nearest one of the table that was not taken yet; its losses are those of
one seed, its worth is the mean of the others'. Samplers and pruners are the search's own, asked as a search
asks them, with K trials in flight; what they cost is counted in full trials. The score is the regret: the
worth of what was chosen, less the best worth of the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.kinds import pruner_of
from loratune.search.samplers.base import Past
from loratune.search.samplers.kinds import propose
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.study.budget import ROUNDS, RUNGS
from loratune.study.pruners import PRUNERS
from loratune.study.samplers import SAMPLERS

SPACE = PRESETS["tiny"].space
IN_FLIGHT = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Trained curves of one task at one length."""

    params: list[LoraParams]
    """Of each configuration; the first is the default."""
    points: np.ndarray
    """``[c, 5]`` the same in the unit cube."""
    losses: np.ndarray
    """``[c, seeds, 4]`` eval losses at the rungs; NaN where not trained, infinite where it diverged."""

    @property
    def worth(self) -> np.ndarray:
        """``[c]`` the mean final loss over all seeds."""
        return np.nanmean(self.losses[:, :, -1], axis=1)

    def worth_beside(self, seed: int) -> np.ndarray:
        """``[c]`` the mean final loss over the other seeds, where there are others."""
        others = np.delete(self.losses[:, :, -1], seed, axis=1)
        there = ~np.isnan(others).all(axis=1)
        found = self.losses[:, seed, -1].copy()
        found[there] = np.nanmean(others[there], axis=1)
        return found


def unit(params: LoraParams) -> list[float]:
    """Return a configuration as a point of the unit cube, on the scales that are searched."""
    return [
        (np.log(params.learning_rate) - np.log(3e-4)) / (np.log(1e-1) - np.log(3e-4)),
        (np.log2(params.batch_size) - 2) / 3,
        (np.log2(params.lora_rank) - 1) / 3,
        (params.scaling - 0.5) / 3.5,
        params.warmup_ratio / 0.1,
    ]


def load(path: Path, level: int = 0) -> Table:
    """Read the table of one task at one length."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    rows = [row for row in rows if row["level"] == level and row["scheduler"] == "warmup_stable_decay"]
    rows = [row for row in rows if not row["nudge"]]
    names = [field.name for field in dataclasses.fields(LoraParams)]
    configs = sorted({row["config"] for row in rows})
    place = {config: index for index, config in enumerate(configs)}
    params: list[LoraParams | None] = [None] * len(configs)
    losses = np.full((len(configs), 3, len(RUNGS)), np.nan)
    for row in rows:
        index = place[row["config"]]
        # What the preset's space holds: the schedule is the same for all, and no part of it.
        params[index] = LoraParams(
            **{name: row[name] for name in names if name in row} | {"lr_scheduler_type": "cosine"}
        )
        curve = [row[f"loss_{rung}"] for rung in RUNGS]
        losses[index, row["seed"]] = [np.inf if loss is None else loss for loss in curve]
    made = [one for one in params if one is not None]
    return Table(params=made, points=np.array([unit(one) for one in made]), losses=losses)


WEIGHTS = np.array([3.0, 1.0, 1.0, 1.0, 0.3])
"""How far apart two configurations are counts mostly by the learning rate."""


class Replay:
    """One search on a table."""

    def __init__(self, table: Table, *, observed: int, seed: int, budget: float) -> None:
        self.table, self.seed, self.budget = table, seed, budget
        seen = table.losses[:, observed]
        filled = table.losses[:, 0]
        self.seen = np.where(np.isnan(seen), filled, seen)
        self.free = np.ones(len(table.params), dtype=bool)
        self.config: list[int] = []
        self.rounds: list[int] = []
        self.state: list[str] = []
        self.rungs: dict[int, dict[int, float]] = {}
        self.spent = 0.0

    def take(self, params: LoraParams) -> int:
        """Begin a trial on the nearest free configuration; return its number."""
        distance = ((self.table.points - np.array(unit(params))) ** 2 * WEIGHTS).sum(axis=1)
        distance[~self.free] = np.inf
        index = int(distance.argmin())
        self.free[index] = False
        self.config.append(index)
        self.rounds.append(0)
        self.state.append("running")
        return len(self.config) - 1

    def advance(self, trial: int) -> bool:
        """Train a trial for one round; return whether it is at a rung."""
        self.rounds[trial] += 1
        self.spent += 1 / ROUNDS
        if self.rounds[trial] not in RUNGS:
            return False
        self.rungs.setdefault(self.rounds[trial], {})[trial] = self.loss(trial, self.rounds[trial])
        return True

    def loss(self, trial: int, rung: int) -> float:
        """Return what a trial is seen to have at a rung."""
        return float(self.seen[self.config[trial], RUNGS.index(rung)])

    def history(self) -> list[Past]:
        """Return what a sampler may know."""
        found = []
        for trial, config in enumerate(self.config):
            curve = {
                rung: losses[trial]
                for rung, losses in self.rungs.items()
                if trial in losses and np.isfinite(losses[trial])
            }
            state = self.state[trial]
            found.append(
                Past(
                    suggestion=SPACE.encode(self.table.params[config]),
                    state=state if state != "paused" else "running",
                    value=curve.get(ROUNDS) if state == "complete" else None,
                    curve=curve,
                )
            )
        return found

    def chosen(self) -> int:
        """Return the configuration that a user would take: the best of those that got furthest."""
        for rung in reversed(RUNGS):
            if self.rungs.get(rung):
                losses = self.rungs[rung]
                return self.config[min(losses, key=lambda trial: (losses[trial], trial))]
        return 0


def propose_next(replay: Replay, sampler) -> int | None:
    """Begin the next trial; None where the table or the sampler has no more."""
    if not replay.free.any():
        return None
    number = len(replay.config)
    if number == 0:
        return replay.take(replay.table.params[0])
    found = propose(SPACE, replay.history(), number=number, seed=replay.seed, sampler=sampler)
    return None if found is None else replay.take(found[0])


def stopping(replay: Replay, sampler, pruner) -> None:
    """Search as the product does: a pruner stops at rungs, a place is refilled at once."""
    judge = pruner_of(pruner)
    running: list[int] = []
    while replay.spent < replay.budget:
        while len(running) < IN_FLIGHT and replay.spent < replay.budget:
            trial = propose_next(replay, sampler)
            if trial is None:
                break
            running.append(trial)
        if not running:
            return
        arrived: dict[int, set[int]] = {}
        for trial in running:
            if replay.advance(trial):
                arrived.setdefault(replay.rounds[trial], set()).add(trial)
        for rung, trials in arrived.items():
            if rung == ROUNDS:
                for trial in trials:
                    replay.state[trial] = "complete"
                continue
            gone = judge.decide(Arrivals(rung=rung, arrived=frozenset(trials), losses=replay.rungs)).stop
            for trial in gone - {0}:
                replay.state[trial] = "pruned"
        running = [trial for trial in running if replay.state[trial] == "running"]


def promoting(replay: Replay, sampler, factor: int) -> None:
    """Asynchronous halving that pauses: a place goes to the best paused trial that has earned it."""
    running: list[int] = []
    waiting: dict[int, set[int]] = {rung: set() for rung in RUNGS[:-1]}
    while replay.spent < replay.budget:
        while len(running) < IN_FLIGHT:
            for rung in reversed(RUNGS[:-1]):
                losses = replay.rungs.get(rung, {})
                best = sorted(losses, key=lambda trial: (losses[trial], trial))[: len(losses) // factor]
                ready = [trial for trial in best if trial in waiting[rung]]
                if ready:
                    waiting[rung].discard(ready[0])
                    replay.state[ready[0]] = "running"
                    running.append(ready[0])
                    break
            else:
                trial = propose_next(replay, sampler)
                if trial is None:
                    break
                running.append(trial)
        if not running:
            return
        for trial in list(running):
            if not replay.advance(trial):
                continue
            running.remove(trial)
            rung = replay.rounds[trial]
            replay.state[trial] = "complete" if rung == ROUNDS else "pruned"
            if rung != ROUNDS:
                waiting[rung].add(trial)


Policy = Callable[[Replay], None]


def policies() -> dict[str, Policy]:
    """Return the policies by name."""

    def stop(sampler: str, pruner: str) -> Policy:
        return lambda replay: stopping(replay, SAMPLERS.parse(sampler), PRUNERS.parse(pruner))

    def promote(sampler: str, factor: int) -> Policy:
        return lambda replay: promoting(replay, SAMPLERS.parse(sampler), factor)

    return {
        "random": stop("random", "none"),
        "qmc": stop("qmc", "none"),
        "grid:points=5": stop("grid:points=5", "none"),
        "tpe, median (Optuna's default)": stop("tpe", "median"),
        "tpe, none": stop("tpe", "none"),
        "tpe, halving": stop("tpe", "halving"),
        "tpe, halving:factor=3": stop("tpe", "halving:factor=3"),
        "tpe, halving:factor=4,first=1": stop("tpe", "halving:factor=4,first=1"),
        "tpe, hyperband": stop("tpe", "hyperband"),
        "random, halving:factor=4,first=1": stop("random", "halving:factor=4,first=1"),
        "random, promote 2": promote("random", 2),
        "random, promote 4": promote("random", 4),
        "tpe, promote 2": promote("tpe", 2),
        "tpe, promote 3": promote("tpe", 3),
        "tpe, promote 4": promote("tpe", 4),
        "gp, none": stop("gp", "none"),
        "gp, halving": stop("gp", "halving"),
    }


_TABLE: Table | None = None


def one(name: str, seed: int, budget: float) -> tuple[float, float, int, float]:
    """Return the regret, what was spent, how many trials began and how much of the top decile was stopped."""
    assert _TABLE is not None
    observed = seed % 3
    replay = Replay(_TABLE, observed=observed, seed=seed, budget=budget)
    policies()[name](replay)
    worth = _TABLE.worth_beside(observed)
    top = set(np.argsort(worth)[: max(1, len(worth) // 10)].tolist())
    met = [trial for trial, config in enumerate(replay.config) if config in top]
    stopped = [trial for trial in met if replay.state[trial] == "pruned"]
    regret = float(worth[replay.chosen()] - np.nanmin(_TABLE.worth))
    return regret, replay.spent, len(replay.config), len(stopped) / max(1, len(met))


def _begin(path: Path, level: int) -> None:
    global _TABLE
    _TABLE = load(path, level)


def main() -> None:
    """Replay every policy under many seeds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--budget", type=float, default=30.0, help="full trials, in equal examples")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--policy", action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    table = load(arguments.table, arguments.level)
    print(
        f"{len(table.params)} configurations, best {np.nanmin(table.worth):.4f}, "
        f"default {table.worth[0]:.4f}, median {np.nanmedian(table.worth):.4f}\n"
    )
    print("| policy | regret, median | its quartiles | mean | trials begun | of the top tenth stopped | s |")
    print("|---|---|---|---|---|---|---|")
    with multiprocessing.get_context("spawn").Pool(
        arguments.processes, _begin, (arguments.table, arguments.level)
    ) as pool:
        for name in arguments.policy or policies():
            began = time.monotonic()
            runs = [(name, seed, arguments.budget) for seed in range(arguments.seeds)]
            found = np.array(pool.starmap(one, runs))
            low, middle, high = np.percentile(found[:, 0], [25, 50, 75])
            print(
                f"| {name} | {middle:.4f} | {low:.4f} to {high:.4f} | {found[:, 0].mean():.4f} | "
                f"{found[:, 2].mean():.0f} | {found[:, 3].mean():.0%} | {time.monotonic() - began:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
