"""Search policies as they are asked in a replay: the search's own, and some that it has not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from loratune.search.pruners.base import Arrivals, Decision, Promoter, Pruner
from loratune.search.pruners.kinds import pruner_of
from loratune.search.pruners.promote import PromotePruner
from loratune.search.samplers.base import Past
from loratune.search.samplers.kinds import propose
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.study.budget import ROUNDS, RUNGS
from loratune.study.pruners import PRUNERS, Promote
from loratune.study.samplers import SAMPLERS
from worlds import Seen, World

SPACE = PRESETS["tiny"].space
IN_FLIGHT = 8


class Replay:
    """One search in a world."""

    def __init__(self, world: World, *, seed: int, budget: float) -> None:
        self.world, self.seed, self.budget = world, seed, budget
        self.runs: list[Seen] = []
        self.rounds: list[int] = []
        self.state: list[str] = []
        self.rungs: dict[int, dict[int, float]] = {}
        self.spent = 0.0
        self.settled: int | None = None

    def begin(self, params: LoraParams) -> int | None:
        """Begin a trial; return its number, None where there is nothing left to run."""
        seen = self.world.run(params)
        if seen is None:
            return None
        self.runs.append(seen)
        self.rounds.append(0)
        self.state.append("running")
        return len(self.runs) - 1

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
        return float(self.runs[trial].losses[RUNGS.index(rung)])

    def history(self) -> list[Past]:
        """Return what a sampler may know."""
        found = []
        for trial, run in enumerate(self.runs):
            curve = {
                rung: losses[trial]
                for rung, losses in self.rungs.items()
                if trial in losses and np.isfinite(losses[trial])
            }
            state = self.state[trial]
            found.append(
                Past(
                    suggestion=SPACE.encode(run.params),
                    state=state if state != "paused" else "running",
                    value=curve.get(ROUNDS) if state == "complete" else None,
                    curve=curve,
                )
            )
        return found

    def best(self, count: int) -> list[int]:
        """Return the trials that a user would take: the best of those that got furthest."""
        for rung in reversed(RUNGS):
            if losses := self.rungs.get(rung):
                return sorted(losses, key=lambda trial: (losses[trial], trial))[:count]
        return [0]

    def chosen(self) -> int:
        """Return the trial that was settled on: the one of the lowest loss, where nothing else was done."""
        return self.best(1)[0] if self.settled is None else self.settled


def propose_next(replay: Replay, sampler) -> int | None:
    """Begin the next trial; None where the table or the sampler has no more."""
    number = len(replay.runs)
    if number == 0:
        return replay.begin(replay.world.default)
    found = propose(SPACE, replay.history(), number=number, seed=replay.seed, sampler=sampler)
    return None if found is None else replay.begin(found[0])


def stopping(replay: Replay, sampler, judge: Pruner, share: float = 1.0) -> None:
    """Search as the product does: a pruner stops at rungs, a place is refilled at once."""
    running: list[int] = []
    budget = share * replay.budget
    while replay.spent < budget:
        while len(running) < IN_FLIGHT and replay.spent < budget:
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


def promoting(replay: Replay, sampler, judge: Promoter) -> None:
    """Search as the product does with a pruner that lets trials wait; the default never does."""
    running: list[int] = []
    waiting: set[int] = set()
    while replay.spent < replay.budget:
        while len(running) < IN_FLIGHT:
            if ready := judge.earned(waiting, replay.rungs):
                waiting.discard(trial := ready[0])
                replay.state[trial] = "running"
            elif (trial := propose_next(replay, sampler)) is None:
                break
            running.append(trial)
        if not running:
            return
        arrived: dict[int, set[int]] = {}
        for trial in running:
            if replay.advance(trial):
                arrived.setdefault(replay.rounds[trial], set()).add(trial)
        for rung, trials in arrived.items():
            for trial in trials if rung == ROUNDS else ():
                replay.state[trial] = "complete"
            arrivals = Arrivals(rung=rung, arrived=frozenset(trials), losses=replay.rungs)
            for trial in judge.decide(arrivals).wait - {0}:
                replay.state[trial] = "pruned"
                waiting.add(trial)
        running = [trial for trial in running if replay.state[trial] == "running"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedHalving:
    """Halving in which a trial is stopped only where it is surely worse than the last one that goes on.

    Surely: their paired difference over the examples is above 0, with an error rate of 5 % at each decision.
    """

    replay: Replay

    def decide(self, arrivals: Arrivals) -> Decision:
        """See ``Pruner``."""
        here = arrivals.here
        if arrivals.rung == 1 or len(here) <= 4:
            return Decision()
        in_order = sorted(here, key=lambda trial: (here[trial], trial))
        last = in_order[math.ceil(len(in_order) / 2) - 1]
        return Decision(
            stop=frozenset(
                trial
                for trial in arrivals.arrived
                if here[trial] > here[last] and self._worse(trial, last, arrivals.rung)
            )
        )

    def _worse(self, trial: int, other: int, rung: int) -> bool:
        first, second = (self.replay.runs[one].each.get(rung) for one in (trial, other))
        if first is None or second is None:
            return True
        tokens = self.replay.world.tokens[: len(first)]
        difference = first - second
        ratio = difference.sum() / tokens.sum()
        left = difference - ratio * tokens
        error = math.sqrt(len(left) / (len(left) - 1) * float(left @ left)) / tokens.sum()
        return bool(ratio > 1.645 * error)


def confirming(replay: Replay, top: int, seeds: int) -> None:
    """Train the best again under other seeds and settle on the least mean."""
    found = {}
    for trial in replay.best(top):
        again = [replay.world.again(replay.runs[trial].params).losses[-1] for _ in range(seeds)]
        found[trial] = float(np.mean(np.log([replay.loss(trial, ROUNDS), *again])))
        replay.spent += seeds
    replay.settled = min(found, key=lambda trial: found[trial])


Policy = Callable[[Replay], None]
OPTUNAS = "tpe, median (Optuna's default)"


def policies() -> dict[str, Policy]:
    """Return the policies by name, Optuna's default first."""

    def stop(sampler: str, pruner: str) -> Policy:
        return lambda replay: stopping(replay, SAMPLERS.parse(sampler), pruner_of(PRUNERS.parse(pruner)))

    def promote(sampler: str, factor: int) -> Policy:
        judge = PromotePruner(settings=Promote(factor=factor))
        return lambda replay: promoting(replay, SAMPLERS.parse(sampler), judge)

    def paired(replay: Replay) -> None:
        stopping(replay, SAMPLERS.parse("tpe"), PairedHalving(replay=replay))

    def confirm(replay: Replay) -> None:
        halving = pruner_of(PRUNERS.parse("halving"))
        stopping(replay, SAMPLERS.parse("tpe"), halving, share=0.8)
        confirming(replay, 3, round(replay.budget * 0.2 / 3))

    return {
        OPTUNAS: stop("tpe", "median"),
        "random": stop("random", "none"),
        "qmc": stop("qmc", "none"),
        "grid, 5 values a range": stop("grid:points=5", "none"),
        "tpe, no pruner": stop("tpe", "none"),
        "tpe, halving (ours)": stop("tpe", "halving"),
        "tpe, halving with factor 3": stop("tpe", "halving:factor=3"),
        "tpe, hyperband": stop("tpe", "hyperband"),
        "tpe, halving by a paired test": paired,
        "tpe, halving on four fifths, then three confirmed": confirm,
        "random, paused and promoted, factor 2": promote("random", 2),
        "tpe, paused and promoted, factor 2": promote("tpe", 2),
        "tpe, paused and promoted, factor 3": promote("tpe", 3),
        "gp, no pruner": stop("gp", "none"),
        "gp, halving": stop("gp", "halving"),
    }
