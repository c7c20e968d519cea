"""Which of the trials that wait for a place get one, which are stopped, and what that leaves to be trained.

A place is given to one that has earned it, else to a new trial; where there is neither, as many go on as
must run to their end. All of it follows from the record and from who has a place; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..study.budget import ROUNDS, RUNGS
from ..study.waiting import latest_first_pause, next_pause, paused_at
from .outcomes import Verdict, behind
from .pruners.kinds import promoter_of
from .study_state import StudyState

SPARE = 2
"""While trials are left to begin, at least so many times those that must end are kept waiting, the best ones:
who goes on may break down."""


TOO_DEAR = ", but what is left to the search does not pay for its next rung"


class Promotion:
    """The trials that wait; asks the pruner and counts what is spent."""

    def __init__(self, state: StudyState) -> None:
        self._state = state
        self._pruner = state.config.pruner
        self._promoter = promoter_of(state.config.pruner)
        self._ready: tuple[int, tuple[int, ...]] = (-1, ())
        """At which revision of what is known it was asked who has earned a place, and who had."""
        self._looked_at = -1
        """At which one it was asked who never will: that a trial begins changes nothing of it."""

    # Who gets a place

    def earned(self) -> int | None:
        """Return the trial that a free place goes to before any new one, None where none has earned it."""
        state = self._state
        if self._promoter is None or not state.waiting():
            return None
        if self._ready[0] != state.known.revision:
            found = self._promoter.earned(state.waiting(), state.rungs({}))
            self._ready = state.known.revision, found
        return next((number for number in self._ready[1] if self._pays_for(number)), None)

    def needed(self) -> int | None:
        """Return the best of those that wait, where fewer than must would end whole; None else.

        Where others broke down that is whatever it takes: a search without a result has spent all in vain.
        """
        state = self._state
        if self._promoter is None or not state.waiting():
            return None
        on_the_way = sum(number != 0 for number in state.going())
        if self._whole() + on_the_way >= self._must_end():
            return None
        return self._promoter.foremost(state.waiting(), state.rungs({}))[0]

    # Who is stopped

    def hopeless(self, to_begin: int) -> tuple[Verdict, ...]:
        """Return the endings of those that will not be among the best of their rung, whoever comes."""
        state = self._state
        if self._promoter is None or not state.waiting():
            return ()
        if self._looked_at == state.known.revision:
            return ()
        self._looked_at = state.known.revision
        losses = state.rungs({})
        rounds = [state.trials[number].rounds for number in state.running()]
        to_come = {rung: to_begin + sum(had < rung for had in rounds) for rung in RUNGS}
        # Also of those that have just been given a place, which the record does not tell from the others.
        standing = [number for number in state.running() if self._stands(number)]
        kept = self._promoter.foremost(standing, losses)[: SPARE * self._must_end()]
        return self._stopped(self._promoter.hopeless(state.waiting(), losses, to_come).difference(kept))

    def left_over(self) -> tuple[Verdict, ...]:
        """Return the endings of all that wait, where nothing trains and nothing is left to begin."""
        state = self._state
        if self._promoter is None or state.going() or self.earned() is not None or self.needed() is not None:
            return ()
        unpaid = self._promoter.earned(state.waiting(), state.rungs({}))
        return self._stopped(state.waiting(), frozenset(unpaid))

    def _stands(self, number: int) -> bool:
        return paused_at(self._state.trials[number], self._pruner) is not None

    def _stopped(self, numbers: Iterable[int], unpaid: frozenset[int] = frozenset()) -> tuple[Verdict, ...]:
        """Return their endings; those ``unpaid`` have earned a place, but not what it costs."""
        state, losses = self._state, self._state.rungs({})
        return tuple(
            Verdict(
                trial=number,
                state="pruned",
                reason=behind(losses[rung], number, rung) + (TOO_DEAR if number in unpaid else ""),
                value=None,
            )
            for number in sorted(numbers)
            for rung in [state.trials[number].rounds]
        )

    # What is spent

    def _pays_for(self, number: int) -> bool:
        """Return whether what the search may take pays for a trial that waits, up to its next rung."""
        return self._enough({number: next_pause(self._state.trials[number], self._pruner)})

    def pays_for_a_new_one(self) -> bool:
        """Return the same of a trial that is not there yet."""
        state = self._state
        if not state.trials:
            return True
        return self._enough({len(state.trials): latest_first_pause(state.config.space, self._pruner)})

    def _enough(self, more: dict[int, int]) -> bool:
        """Return whether what the search may take is enough for all that is begun, and for what must end.

        ``more`` has trials beside those that have a place, and after how many rounds they are paused.
        """
        state, ladder = self._state, self._state.config.ladder
        if ladder is None:
            return True
        going = frozenset(state.going())
        reach = {
            number: next_pause(trial, self._pruner) if number in going else trial.rounds
            for number, trial in state.trials.items()
        } | more
        alive = [rounds for number, rounds in reach.items() if number and self._is_alive(number)]
        lacking = self._must_end() - self._whole()
        ahead = sorted(alive, reverse=True)[: max(0, lacking)] if self._promoter is not None else []
        rounds = sum(reach.values()) + sum(ROUNDS - had for had in ahead)
        return rounds * state.facts.budget.round_examples <= ladder.searching

    def _is_alive(self, number: int) -> bool:
        trial = self._state.trials.get(number)
        return trial is None or trial.state == "running"

    def _must_end(self) -> int:
        """Return how many trials beside the default are to run to their end: as many as go up, or one."""
        state = self._state
        ladder = state.config.ladder
        steps = () if ladder is None else ladder.planned(state.study.trials)
        return min(steps[0].count if steps else 1, state.study.trials - 1)

    def _whole(self) -> int:
        """Return how many have."""
        default = self._state.trials.get(0)
        counted = default is not None and default.state == "complete"
        return self._state.counts()["complete"] - counted
