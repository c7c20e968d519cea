"""Where new trials come from: the default, what the user enqueued, then the sampler, until none is left."""

from __future__ import annotations

from pathlib import Path

from ..spaces.params import LoraParams
from ..study.budget import ROUNDS
from ..study.events import Notice, TrialStarted
from ..study.sentences import everything_tried, space_exhausted
from ..study.stage import Stage
from .concurrency import DUPLICATES, in_flight_limit, twin_of
from .progress import Announcer
from .samplers.kinds import propose, sampler_of
from .study_state import StudyState


class TrialSource:
    """Begins new trials of a study, as many as it wants and as may be in flight."""

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

    @property
    def over(self) -> bool:
        """Whether no trial will begin any more."""
        return self.exhausted or len(self._state.trials) >= self.total or not self._affordable()

    def next_trial(self) -> int | None:
        """Record the next trial and return its number; None where none may begin now."""
        state, config = self._state, self._state.config
        number = len(state.trials)
        if self.over or len(state.running()) >= self.limit:
            return None
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

    def _affordable(self) -> bool:
        """Return whether what the search may take would pay for another trial, if none is stopped."""
        state, ladder = self._state, self._state.config.ladder
        if ladder is None or not state.trials:
            return True
        a_round = state.facts.budget.round_examples
        taken = sum(ROUNDS if t.state == "running" else t.rounds for t in state.trials.values())
        return (taken + ROUNDS) * a_round <= ladder.searching

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
