"""Who is given a free place: a trial that waits and has earned it, else a new one, as long as any is left.

New ones are the default, what the user enqueued, then what the sampler proposes.
"""

from __future__ import annotations

from pathlib import Path

from ..spaces.params import LoraParams
from ..study.events import Notice, TrialStarted
from ..study.sentences import everything_tried, space_exhausted
from ..study.stage import Stage
from .concurrency import DUPLICATES, in_flight_limit, twin_of
from .outcomes import Verdict
from .progress import Announcer
from .promotion import Promotion
from .samplers.kinds import propose, sampler_of
from .study_state import StudyState


class TrialSource:
    """Lets trials of a study begin and go on, as many as it wants and as may be in flight."""

    def __init__(self, state: StudyState, announcer: Announcer, *, gpus: int = 1) -> None:
        self.total = state.study.trials
        """How many trials the study is to have."""
        self.limit = in_flight_limit(self.total, gpus) if state.config.stage is None else self.total
        """How many may run at once."""
        self.exhausted = False
        """Whether no untried configuration was found."""
        sampler_of(state.config.sampler)  # says at once where it lacks a library
        self._state = state
        self._announcer = announcer
        self._promotion = Promotion(state)

    @property
    def over(self) -> bool:
        """Whether no trial will begin any more."""
        return self.exhausted or not self._left() or not self._promotion.pays_for_a_new_one()

    def next_trial(self) -> int | None:
        """Give the next trial a place and return its number; None where none may have one now.

        A new one is recorded first.
        """
        if len(self._state.going()) >= self.limit:
            return None
        number = self._promotion.earned()
        if number is None:
            number = self._new_trial() if not self.over else None
        if number is None and self.over:
            number = self._promotion.needed()
        if number in self._state.waiting():
            self._state.give_place(number)
        return number

    def stop_waiting(self) -> None:
        """Record the endings of trials that wait in vain."""
        # Who is stopped at one rung cannot come to the next, where that may settle it for others.
        while verdicts := self._waits_in_vain():
            self._state.record((), verdicts)
            for verdict in verdicts:
                self._announcer.tell(verdict.event)

    def _waits_in_vain(self) -> tuple[Verdict, ...]:
        return self._promotion.left_over() if self.over else self._promotion.hopeless(self._left())

    def _left(self) -> int:
        return max(0, self.total - len(self._state.trials))

    def _new_trial(self) -> int | None:
        """Record the next trial and return its number; None where there is nothing to try."""
        state, config = self._state, self._state.config
        number = len(state.trials)
        if config.stage is not None:
            return self._begin_entry(config.stage, number)
        if number < len(config.first):
            return self._begin(config.first[number], "enqueued" if number else "default")
        while (tries := state.duplicates(number)) < DUPLICATES:
            found = propose(
                config.space,
                state.history(),
                number=number,
                seed=config.seed,
                sampler=config.sampler,
                tries=tries,
            )
            if found is None:
                self._exhaust(everything_tried(config.sampler.name, number))
                return None
            params, source = found
            twin = twin_of(params, state.tried)
            if twin is None:
                return self._begin(params, source)
            state.add_duplicate(twin, params)
        self._exhaust(space_exhausted(DUPLICATES, number))
        return None

    def _exhaust(self, notice: Notice) -> None:
        self.exhausted = True
        self._announcer.tell(notice)

    def _begin_entry(self, stage: Stage, number: int) -> int:
        entry = stage.entries[number]
        source = "default" if entry.params == self._state.config.first[0] else "enqueued"
        self._state.add_entry(entry, self._held_folder(stage), source)
        self._announcer.tell(TrialStarted(trial=number, params=entry.params, source=source))
        return number

    def _held_folder(self, stage: Stage) -> Path:
        store = self._state.store
        return store.study_dir(store.study(stage.parent).id)

    def _begin(self, params: LoraParams, source: str) -> int:
        number = self._state.add(params, source)
        self._announcer.tell(TrialStarted(trial=number, params=params, source=source))
        return number
