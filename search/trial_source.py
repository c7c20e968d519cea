"""Where new trials come from: the default, what the user enqueued, then the sampler, until none is left."""

from __future__ import annotations

from ..spaces.nouns import numbered
from .concurrency import DUPLICATES, in_flight_limit, twin_of
from .progress_view import View
from .samplers import propose
from .study_state import Ledger


class Supply:
    """Begins new trials of a study, as many as it wants and as may be in flight."""

    def __init__(self, ledger: Ledger, view: View) -> None:
        self.total = ledger.study.trials
        """How many trials the study is to have."""
        self.limit = in_flight_limit(self.total)
        """How many may run at once."""
        self.exhausted = False
        """Whether no untried configuration was found."""
        self._ledger = ledger
        self._view = view

    @property
    def over(self) -> bool:
        """Whether no trial will begin any more."""
        return self.exhausted or len(self._ledger.trials) >= self.total

    def next_trial(self) -> int | None:
        """Record the next trial and return its number; None where none may begin now."""
        ledger, config = self._ledger, self._ledger.config
        number = len(ledger.trials)
        if self.over or len(ledger.running()) >= self.limit:
            return None
        if number < len(config.first):
            return ledger.add(config.first[number], "enqueued" if number else "default")
        while (tries := ledger.duplicates(number)) < DUPLICATES:
            params, source = propose(
                config.space,
                ledger.history(),
                number=number,
                seed=config.seed,
                sampler=config.sampler,
                tries=tries,
            )
            twin = twin_of(params, ledger.tried)
            if twin is None:
                return ledger.add(params, source)
            ledger.add_duplicate(twin, params)
        self.exhausted = True
        self._view.say(
            f"the space is exhausted: {DUPLICATES} proposals in a row were of configurations tried before; "
            f"the study ends with {numbered(number, 'trial')}"
        )
        return None
