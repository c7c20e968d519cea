"""What is known of a study's trials, in memory, with what is asked again and again kept up as they go on.

So nothing that is done for each trial or round walks over all trials. Knows neither a database nor files;
decides nothing.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ..spaces.params import LoraParams
from ..spaces.space import SearchSpace
from ..storage.to_optuna import to_optuna
from ..study.pruners import NoPruning, PrunerSettings
from ..study.ranking import Rank, rank
from ..study.records import FINAL_STATES, CurvePoint, Standing, State, TrialRecord
from ..study.waiting import comparable, paused_at
from .concurrency import canonical
from .samplers.base import Past


class KnownTrials:
    """The trials of one study.

    Changed only by ``begin``, ``duplicate``, ``note``, ``replace`` and ``give_place``.
    """

    def __init__(
        self, space: SearchSpace, is_rung: Mapping[int, bool], pruner: PrunerSettings | None = None
    ) -> None:
        """Begin with none.

        Args:
            space: what is searched.
            is_rung: of each round, whether trials are evaluated after it.
            pruner: who may let trials wait; nobody by default.
        """
        self._pruner = NoPruning() if pruner is None else pruner
        self._space = space
        self._is_rung = is_rung
        self._trials: dict[int, TrialRecord] = {}
        self._tried: dict[LoraParams, int] = {}
        self._losses: dict[int, dict[int, float | None]] = {}
        self._rungs: dict[int, dict[int, float]] = {}
        self._running: set[int] = set()
        self._waiting: set[int] = set()
        self.revision = 0
        """Grows with all that may change who has earned a place: rounds, endings, places that are given."""
        self._counts: Counter[State] = Counter()
        self._ended: Counter[int] = Counter()
        self._ranks: list[Rank] = []
        self._duplicates: Counter[int] = Counter()
        self._asked: list[int] = []
        self._past: dict[int, Past] = {}

    # What is known

    @property
    def trials(self) -> Mapping[int, TrialRecord]:
        """Every trial by number, ascending."""
        return MappingProxyType(self._trials)

    @property
    def tried(self) -> Mapping[LoraParams, int]:
        """The first trial of each configuration."""
        return MappingProxyType(self._tried)

    def running(self) -> tuple[int, ...]:
        """Return the numbers of the trials that have not ended, ascending."""
        return tuple(sorted(self._running))

    def waiting(self) -> frozenset[int]:
        """Return those of them that wait for a place: no worker trains them."""
        return frozenset(self._waiting)

    def going(self) -> tuple[int, ...]:
        """Return the others, ascending: those that are to be trained now."""
        return tuple(sorted(self._running - self._waiting))

    def counts(self) -> dict[Standing, int]:
        """Return how many trials stand where, every state named."""
        waiting = len(self._waiting)
        ended: dict[Standing, int] = {state: self._counts[state] for state in FINAL_STATES}
        return {"running": self._counts["running"] - waiting, "waiting": waiting, **ended}

    def ended_after(self) -> Counter[int]:
        """Return by rounds how many trials have ended that had so many."""
        return self._ended

    def best(self, count: int = 1) -> tuple[int, ...]:
        """Return the numbers of the best complete trials, best first; ties go to the lower number."""
        return tuple(number for *_, number in self._ranks[: max(0, count)])

    def at_least_as_good(self, score: float | None, value: float) -> int:
        """Return how many complete trials are as good as that or better."""
        *measured, _ = rank(score, value, 0)
        return bisect.bisect_right(self._ranks, (*measured, math.inf))

    def eval_loss(self, number: int) -> float | None:
        """Return the last eval loss of a trial, None where it has none that is finite."""
        known = [loss for loss in self._losses.get(number, {}).values() if loss is not None]
        return known[-1] if known else None

    def duplicates(self, number: int) -> int:
        """Return how many duplicates were proposed for that number."""
        return self._duplicates[number]

    def history(self) -> tuple[Past, ...]:
        """Return what the sampler may know, in the order of asking; a duplicate has its twin's result."""
        return tuple(self._past_of(number) for number in self._asked)

    def rungs(self, new: Iterable[CurvePoint] = ()) -> dict[int, Mapping[int, float]]:
        """Return by round the loss of every trial that reached it, ``new`` points included.

        Holds the evaluated rounds alone; a loss that was not finite is infinite here.
        """
        added: dict[int, dict[int, float]] = {}
        for point in new:
            if self._is_rung[point.round]:
                added.setdefault(point.round, {})[point.trial] = comparable(point.eval_loss)
        return {
            round_number: {**self._rungs.get(round_number, {}), **added.get(round_number, {})}
            for round_number in self._rungs.keys() | added.keys()
        }

    # What becomes known

    def begin(self, trial: TrialRecord) -> None:
        """Take a trial in, in whatever state; its number must be the next one."""
        assert trial.number == len(self._trials), f"trial {trial.number} is not the next one"
        self._trials[trial.number] = trial
        self._tried.setdefault(canonical(trial.params), trial.number)
        self._asked.append(trial.number)
        self._enter(trial)

    def duplicate(self, twin: int) -> None:
        """Note that the next number was proposed the configuration of an earlier trial."""
        self._duplicates[len(self._trials)] += 1
        self._asked.append(twin)

    def note(self, point: CurvePoint) -> None:
        """Note a point of a trial's curve."""
        self._losses.setdefault(point.trial, {})[point.round] = point.eval_loss
        if self._is_rung[point.round]:
            self._rungs.setdefault(point.round, {})[point.trial] = comparable(point.eval_loss)
        self._past.pop(point.trial, None)

    def give_place(self, number: int) -> None:
        """Let a trial go on that waits."""
        self.revision += 1
        self._waiting.remove(number)
        self._past.pop(number, None)

    def replace(self, trial: TrialRecord) -> None:
        """Put a trial's new record in the place of the old one."""
        old = self._trials[trial.number]
        self.revision += (old.state, old.rounds) != (trial.state, trial.rounds)
        was_going = trial.number in self._running and trial.number not in self._waiting
        self._counts[old.state] -= 1
        self._ended[old.rounds] -= old.state != "running"
        self._running.discard(trial.number)
        self._waiting.discard(trial.number)
        if old.value is not None:
            self._ranks.remove(rank(old.score, old.value, old.number))
        self._trials[trial.number] = trial
        self._enter(trial)
        if was_going and trial.rounds == old.rounds:
            self._waiting.discard(trial.number)  # it has its place, and has not ended a round there yet
        self._past.pop(trial.number, None)

    def _enter(self, trial: TrialRecord) -> None:
        self._counts[trial.state] += 1
        self._ended[trial.rounds] += trial.state != "running"
        if trial.state == "running":
            self._running.add(trial.number)
            if paused_at(trial, self._pruner) is not None:
                self._waiting.add(trial.number)
        if trial.value is not None:
            bisect.insort(self._ranks, rank(trial.score, trial.value, trial.number))

    def _past_of(self, number: int) -> Past:
        if number not in self._past:
            trial, losses = self._trials[number], self._losses.get(number, {})
            suggestion = self._space.encode(trial.params)
            if trial.state == "running":
                curve = {round_number: loss for round_number, loss in losses.items() if loss is not None}
                # Others were better so far: the sampler is told the same of it as if it had been stopped.
                state: State = "pruned" if number in self._waiting else "running"
                self._past[number] = Past(suggestion=suggestion, state=state, curve=curve)
            else:
                told = to_optuna(trial, losses)
                self._past[number] = Past(
                    suggestion=suggestion, state=trial.state, value=trial.value, curve=told.steps
                )
        return self._past[number]
