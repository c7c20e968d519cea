"""Where a search stands and what happens in it, told to whoever looks on.

Progress is made anew at every sign of life, of the record in memory and of what the workers last said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from ..objectives.base import SlotProgress
from ..spaces.params import HYPERPARAMETERS
from ..study.budget import ROUNDS, RUNGS
from ..study.events import BestTrial, Event, Observer, StudyProgress, TrialProgress, WaitingTrial
from ..study.pruners import STOP_RUNGS
from ..study.work import mean_work, work_of_rounds
from .measure import finite
from .study_state import StudyState
from .worker_state import WorkerState

QUIET_SECONDS = 5.0
"""Seconds after which it is told again where a search stands, whatever its workers say."""


class Announcer:
    """Tells observers what happens and where the search stands."""

    def __init__(
        self,
        state: StudyState,
        workers: Sequence[WorkerState],
        observers: Sequence[Observer],
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._workers = workers
        self._observers = tuple(observers)
        self._clock = clock
        self._begun = self._shown = self._ended = clock()
        self._done = 0.0
        self._costs = work_of_rounds(state.config.objective, state.facts)
        searched = [one.name for one in state.config.space.dimensions if not one.fixed]
        self._varied = tuple(HYPERPARAMETERS[name].stands_for or name for name in searched)

    def tell(self, event: Event) -> None:
        """Tell all observers what happened; what is of the record has been committed by now."""
        for observer in self._observers:
            observer.on_event(event)

    def trained(self, rounds: Iterable[int]) -> None:
        """Take note that a worker's trials have ended these rounds of theirs, 1 to 8."""
        self._done += math.fsum(self._costs[number] - self._costs[number - 1] for number in rounds)
        self._ended = self._clock()

    def show(self) -> None:
        """Tell where the search stands."""
        self._shown = self._clock()
        self.tell(self.progress())

    def show_again(self) -> None:
        """Tell it again where it was last told a while ago: a long evaluation gives no sign of life."""
        if self._clock() - self._shown >= QUIET_SECONDS:
            self.show()

    def progress(self) -> StudyProgress:
        """Return where the search stands."""
        state = self._state
        elapsed = self._clock() - self._begun
        going, waiting = state.going(), sorted(state.waiting())
        per_hour, left = self._estimate(going)
        best = state.best()
        last = [worker.last for worker in self._workers if worker.last is not None]
        return StudyProgress(
            study=state.study.name,
            trials=state.study.trials,
            varied=self._varied,
            counts=state.counts(),
            running=tuple(self._trial(number) for number in going),
            waiting=tuple(
                WaitingTrial(
                    trial=number,
                    params=state.trials[number].params,
                    round=state.trials[number].rounds,
                    eval_loss=state.eval_loss(number),
                )
                for number in waiting
            ),
            best=None
            if best is None or best.value is None
            else BestTrial(number=best.number, value=best.value, params=best.params, score=best.score),
            base_loss=state.facts.base_loss,
            tokens_per_second=sum(progress.tokens_per_second for progress in last),
            memory_bytes=sum(progress.memory_bytes for progress in last),
            trials_per_hour=per_hour,
            seconds_left=left,
            elapsed=elapsed,
        )

    def _estimate(self, going: Sequence[int]) -> tuple[float | None, float | None]:
        """Return (trials per hour, seconds left) at the pace of this run.

        Both as of the last round that ended, and the seconds less those since then: what a worker is in the
        middle of is work done by nobody yet, and its time must not seem time in which nothing was done.
        """
        state, costs = self._state, self._costs
        begun = [state.trials[number].rounds for number in going]
        to_come = range(len(state.trials), state.study.trials)
        seconds = self._ended - self._begun
        ended = state.known.ended_after()
        of_finished = math.fsum(costs[rounds] * count for rounds, count in ended.items())
        if (pruner := state.config.pruner).pausing:
            per_hour, left = estimate_of_pausing(
                done=self._done,
                seconds=seconds,
                costs=costs,
                of_all=of_finished + sum(costs[state.trials[number].rounds] for number in state.running()),
                trials=len(state.trials) + len(to_come),
                mean=mean_work(costs, pruner, len(state.trials) + len(to_come)),
                begun=begun,
            )
        else:
            stage = state.config.stage
            per_hour, left = estimate(
                done=self._done,
                seconds=seconds,
                costs=costs,
                of_finished=of_finished,
                finished=sum(ended.values()),
                to_begin=[0 if stage is None else stage.entries[number].start for number in to_come],
                begun=begun,
                stops=pruner.stops,
            )
        if left:
            left -= self._clock() - self._ended
        return per_hour, None if left is None or left < 0 else left

    def _trial(self, number: int) -> TrialProgress:
        trial = self._state.trials[number]
        budget = self._state.facts.budget
        worker = next((worker for worker in self._workers if number in worker.members), None)
        progress: SlotProgress | None = None if worker is None else worker.progress.get(number)
        state = "waiting"
        if worker is not None and number in worker.inside:
            state = worker.last.phase if worker.last is not None else "starting"
        return TrialProgress(
            worker=None if worker is None else worker.index,
            trial=number,
            params=trial.params,
            examples=trial.rounds * budget.round_examples if progress is None else progress.examples,
            examples_total=budget.examples,
            train_loss=None if progress is None else finite(progress.train_loss),
            eval_loss=self._state.eval_loss(number),
            learning_rate=None if progress is None else progress.learning_rate,
            grad_norm=None if progress is None else finite(progress.grad_norm),
            state=state,
        )


def estimate(
    *,
    done: float,
    seconds: float,
    costs: Sequence[float],
    of_finished: float,
    finished: int,
    to_begin: Sequence[int],
    begun: Sequence[int],
    stops: bool,
) -> tuple[float | None, float | None]:
    """Return (trials per hour, seconds left) at the pace of this run.

    Args:
        done: work of this run, in the unit of ``costs``.
        seconds: how long it took.
        costs: ``[9]`` the work of so many rounds of a trial.
        of_finished: the work of all trials that have ended.
        finished: how many these are.
        to_begin: the rounds that each trial begins with that is still to come.
        begun: the rounds of each one that is under way.
        stops: whether trials may be stopped early.

    >>> so_far = dict(done=40, seconds=100.0, costs=range(9), of_finished=40, finished=10)
    >>> estimate(**so_far, to_begin=[0] * 3, begun=[2, 6], stops=True)  # 17 rounds at 0.4 a second
    (360.0, 42.5)
    """
    if done <= 0 or seconds <= 0:
        return None, None
    pace, whole = done / seconds, costs[ROUNDS]
    if not stops:
        mean = whole - (costs[to_begin[0]] if to_begin else 0)
    elif finished and of_finished:
        mean = of_finished / finished
    else:  # half of a full trial: about what successive halving spends on one
        mean = whole / 2
    coming = len(to_begin) * mean if stops else math.fsum(whole - costs[rounds] for rounds in to_begin)
    under_way = math.fsum(
        max(mean - costs[rounds], (whole - costs[rounds]) / 2)
        if stops and rounds < STOP_RUNGS[-1]
        else whole - costs[rounds]
        for rounds in begun
    )
    return 3600 * pace / mean, (coming + under_way) / pace


def estimate_of_pausing(
    *,
    done: float,
    seconds: float,
    costs: Sequence[float],
    of_all: float,
    trials: int,
    mean: float,
    begun: Sequence[int],
) -> tuple[float | None, float | None]:
    """Return the same where trials wait for a place: how long one takes is known of all together alone.

    ``of_all`` is the work that was done so far of all ``trials`` that there will be, which take about
    ``mean`` each; ``begun`` has the rounds of each one that trains.

    >>> estimate_of_pausing(
    ...     done=40, seconds=100.0, costs=range(9), of_all=40, trials=40, mean=2, begun=[1, 2]
    ... )  # 80 rounds in all, at 0.4 a second
    (720.0, 100.0)
    """
    if done <= 0 or seconds <= 0:
        return None, None
    pace = done / seconds
    to_next_rung = math.fsum(
        costs[min(rung for rung in RUNGS if rung > rounds)] - costs[rounds] for rounds in begun
    )
    return 3600 * pace / mean, max(trials * mean - of_all, to_next_rung) / pace
