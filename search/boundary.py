"""The boundary: the end of a round of the trials that are judged together.

It is reached when all of them have ended the round, in however many passes and whoever died meanwhile;
then the round is recorded, in one transaction, and what follows from it is decided.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from ..metrics.scoring import score_of
from ..objectives.base import Done, SlotResult
from ..study.events import PointRecorded
from .measure import EndedRound, checkpoint_of, updates_of
from .outcomes import Arrival, judge
from .progress import Announcer
from .pruners.kinds import pruner_of
from .study_state import StudyState
from .worker_state import WorkerState


class Boundary:
    """Holds what trials have reached that is not recorded yet."""

    def __init__(self, state: StudyState, announcer: Announcer, *, together: bool) -> None:
        self.together = together
        """Whether all running trials are judged together, or each worker's are."""
        self._state = state
        self._announcer = announcer
        self._pruner = pruner_of(state.config.pruner)
        self._reached: dict[int, EndedRound] = {}
        """Trials that have ended the round while others that are judged with them have not."""

    @property
    def reached(self) -> Container[int]:
        """Trials that have ended the round while others that are judged with them have not."""
        return self._reached.keys()

    @property
    def at_boundary(self) -> bool:
        """Whether nobody has ended a round that is not recorded."""
        return not self._reached

    def has_reached_none(self, numbers: Iterable[int]) -> bool:
        """Return whether none of these trials waits for others that are judged with it."""
        return self._reached.keys().isdisjoint(numbers)

    def end_pass(self, worker: WorkerState, done: Done) -> None:
        """Note who has ended the round; a trial that lost its state and catches up has not yet."""
        reached: list[SlotResult] = []
        trials = self._state.trials
        for result in done.results:
            if result.round <= trials[result.trial].rounds:
                self._state.repeat(result.trial, checkpoint_of(result, trials[result.trial].attempt))
            else:
                reached.append(result)
        diverged = {result.trial: result.diverged for result in reached}
        for update in updates_of(
            reached,
            done,
            facts=self._state.facts,
            trials=trials,
            worker=worker.index,
            begun_at=worker.begun_at,
        ):
            self._reached[update.trial] = EndedRound(update=update, diverged=diverged[update.trial])

    def end_whole(self, workers: Sequence[WorkerState]) -> bool:
        """Record every round that all have ended, of the workers in use; return whether there was one."""
        of_one = [list(workers)] if self.together else [[worker] for worker in workers]
        whole = [together for together in of_one if self._is_whole(together)]
        for together in whole:
            self._end(together)
        return bool(whole)

    def _is_whole(self, workers: Sequence[WorkerState]) -> bool:
        """Return whether every trial that is judged with these workers' has ended the round."""
        if any(worker.training for worker in workers):
            return False
        numbers = self._judged_together(workers)
        return bool(numbers) and all(number in self._reached for number in numbers)

    def _judged_together(self, workers: Sequence[WorkerState]) -> Sequence[int]:
        """Return which trials those are; when it is all, also those that lost their worker.

        Those that wait for a place are nobody's.
        """
        if self.together:
            return self._state.going()
        return sorted(number for worker in workers for number in worker.members)

    def _end(self, workers: Sequence[WorkerState]) -> None:
        """Record a round and what follows from it."""
        state = self._state
        reached = [self._reached.pop(number) for number in self._judged_together(workers)]
        updates = [one.update for one in reached]
        arrivals = [
            Arrival(
                trial=one.update.trial,
                params=state.trials[one.update.trial].params,
                round=one.update.round,
                eval_loss=one.update.point.eval_loss,
                final_loss=None if one.update.final is None else one.update.final.loss,
                diverged=one.diverged,
                score=score_of(
                    state.config.objective.metric,
                    one.update.final or one.update.evaluation,
                    state.facts.answers,
                ),
                # The report compares the best with the default, so that must have a value.
                never_stopped=state.trials[one.update.trial].source == "default",
            )
            for one in reached
        ]
        verdicts = judge(
            arrivals,
            state.rungs({update.trial: update.point for update in updates}),
            base_loss=state.facts.base_loss,
            due=state.facts.budget.rungs,
            pruner=self._pruner,
        )
        state.record(updates, verdicts)
        for update in updates:
            self._announcer.tell(PointRecorded(point=update.point))
        for verdict in verdicts:
            self._announcer.tell(verdict.event)
        for worker in workers:
            for number in (*(verdict.trial for verdict in verdicts), *state.waiting()):
                worker.leave(number)
            worker.end_round()
