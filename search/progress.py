"""Where a search stands and what happens in it, told to whoever looks on.

Progress is made anew at every sign of life, of the record in memory and of what the workers last said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..objectives.base import SlotProgress
from ..spaces.params import HYPERPARAMETERS
from ..study.budget import ROUNDS, RUNGS
from ..study.events import BestTrial, Event, Observer, StudyProgress, TrialProgress, WaitingTrial
from ..study.pruners import STOP_RUNGS
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
        self._begun = self._shown = clock()
        searched = [one.name for one in state.config.space.dimensions if not one.fixed]
        self._varied = tuple(HYPERPARAMETERS[name].stands_for or name for name in searched)

    def tell(self, event: Event) -> None:
        """Tell all observers what happened; what is of the record has been committed by now."""
        for observer in self._observers:
            observer.on_event(event)

    def show(self, rounds: int) -> None:
        """Tell where the search stands after so many rounds of this run."""
        self._shown = self._clock()
        self.tell(self.progress(rounds))

    def show_again(self, rounds: int) -> None:
        """Tell it again where it was last told a while ago: a long evaluation gives no sign of life."""
        if self._clock() - self._shown >= QUIET_SECONDS:
            self.show(rounds)

    def progress(self, rounds: int) -> StudyProgress:
        """Return where the search stands."""
        state = self._state
        elapsed = self._clock() - self._begun
        going, waiting = state.going(), sorted(state.waiting())
        to_begin = max(0, state.study.trials - len(state.trials))
        if state.config.pruner.pausing:
            per_hour, left = estimate_of_pausing(
                rounds_done=rounds,
                elapsed=elapsed,
                rounds_of_all=state.known.rounds_of_ended()
                + sum(state.trials[number].rounds for number in state.running()),
                trials=len(state.trials) + to_begin,
                share=state.config.pruner.trained_share(len(state.trials) + to_begin),
                begun=[state.trials[number].rounds for number in going],
            )
        else:
            per_hour, left = estimate(
                rounds_done=rounds,
                elapsed=elapsed,
                rounds_of_finished=state.known.rounds_of_ended(),
                finished=len(state.trials) - len(going),
                to_begin=to_begin,
                begun=[state.trials[number].rounds for number in going],
                stops=state.config.pruner.stops,
            )
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
    rounds_done: int,
    elapsed: float,
    rounds_of_finished: int,
    finished: int,
    to_begin: int,
    begun: Sequence[int],
    stops: bool,
) -> tuple[float | None, float | None]:
    """Return (trials per hour, seconds left) at the pace of this run.

    ``rounds_done`` were trained in ``elapsed`` seconds; ``finished`` trials took ``rounds_of_finished`` in
    all; ``to_begin`` trials are still to come, and ``begun`` has the rounds of each one that is under way.
    ``stops`` says whether trials may be stopped early.

    >>> so_far = dict(rounds_done=40, elapsed=100.0, rounds_of_finished=40, finished=10)
    >>> estimate(**so_far, to_begin=3, begun=[2, 6], stops=True)  # 3 × 4, 3 and 2 rounds at 0.4 a second
    (360.0, 42.5)
    """
    if rounds_done == 0 or elapsed <= 0:
        return None, None
    pace = rounds_done / elapsed
    if not stops:
        mean = float(ROUNDS)
    elif finished and rounds_of_finished:
        mean = rounds_of_finished / finished
    else:  # half of a full trial: about what successive halving spends on one
        mean = ROUNDS / 2
    under_way = sum(
        max(mean - rounds, (ROUNDS - rounds) / 2) if stops and rounds < STOP_RUNGS[-1] else ROUNDS - rounds
        for rounds in begun
    )
    return 3600 * pace / mean, (to_begin * mean + under_way) / pace


def estimate_of_pausing(
    *, rounds_done: int, elapsed: float, rounds_of_all: int, trials: int, share: float, begun: Sequence[int]
) -> tuple[float | None, float | None]:
    """Return the same where trials wait for a place: how long one takes is known of all together alone.

    ``rounds_of_all`` were trained so far of all ``trials`` that there will be, which take about that
    ``share`` of their rounds; ``begun`` has the rounds of each one that trains.

    >>> estimate_of_pausing(
    ...     rounds_done=40, elapsed=100.0, rounds_of_all=40, trials=40, share=0.25, begun=[1, 2]
    ... )  # 80 rounds in all, at 0.4 a second
    (720.0, 100.0)
    """
    if rounds_done == 0 or elapsed <= 0:
        return None, None
    pace = rounds_done / elapsed
    to_next_rung = sum(min(rung for rung in RUNGS if rung > rounds) - rounds for rounds in begun)
    left = max(trials * share * ROUNDS - rounds_of_all, to_next_rung)
    return 3600 * pace / (ROUNDS * share), left / pace
