"""The search as its onlooker sees it: snapshots made from the ledger and the workers' signs of life."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ..objectives.base import SlotProgress
from ..spaces.params import RATIO
from .measure import finite
from .outcomes import Verdict
from .progress import BestView, Observer, SlotView, Snapshot, estimate
from .study_state import Ledger
from .worker_state import Seat

MESSAGES = 8
"""How many of the last messages a snapshot holds."""


class View:
    """Makes snapshots for one observer."""

    def __init__(
        self, ledger: Ledger, seats: Sequence[Seat], observer: Observer, clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._seats = seats
        self._observer = observer
        self._clock = clock
        self._begun = clock()
        self._messages: deque[str] = deque(maxlen=MESSAGES)
        searched = [one.name for one in ledger.config.space.dimensions if not one.fixed]
        self._varied = tuple("lora_alpha" if name == RATIO.name else name for name in searched)

    def say(self, text: str) -> None:
        """Pass on something that happened."""
        self._messages.append(text)
        self._observer.on_message(text)

    def say_ended(self, verdict: Verdict) -> None:
        """Pass on that a trial has ended."""
        what = f"eval loss {verdict.value:.4f}" if verdict.value is not None else str(verdict.reason)
        self.say(f"trial {verdict.trial} {verdict.state}: {what}")

    def show(self, quanta: int) -> None:
        """Show where the search stands after so many quanta of this run."""
        self._observer.on_snapshot(self.snapshot(quanta))

    def snapshot(self, quanta: int) -> Snapshot:
        """Return where the search stands."""
        ledger = self._ledger
        elapsed = self._clock() - self._begun
        ended = [trial for trial in ledger.trials.values() if trial.state != "running"]
        running = ledger.running()
        per_hour, left = estimate(
            quanta_done=quanta,
            elapsed=elapsed,
            quanta_of_finished=sum(trial.quanta for trial in ended),
            finished=len(ended),
            to_begin=max(0, ledger.study.trials - len(ledger.trials)),
            begun=[ledger.trials[number].quanta for number in running],
            stops=ledger.config.pruner != "none",
        )
        best = ledger.best()
        last = [seat.last for seat in self._seats if seat.last is not None]
        return Snapshot(
            study=ledger.study.name,
            trials=ledger.study.trials,
            varied=self._varied,
            counts=ledger.counts(),
            slots=tuple(self._slot(number) for number in running),
            best=None
            if best is None or best.value is None
            else BestView(number=best.number, value=best.value, params=best.params),
            base_loss=ledger.facts.base_loss,
            tokens_per_second=sum(progress.tokens_per_second for progress in last),
            memory_bytes=sum(progress.memory_bytes for progress in last),
            trials_per_hour=per_hour,
            seconds_left=left,
            elapsed=elapsed,
            messages=tuple(self._messages),
        )

    def _slot(self, number: int) -> SlotView:
        trial = self._ledger.trials[number]
        budget = self._ledger.facts.budget
        seat = next((seat for seat in self._seats if number in seat.members), None)
        progress: SlotProgress | None = None if seat is None else seat.progress.get(number)
        state = "waiting"
        if seat is not None and number in seat.inside:
            state = seat.last.phase if seat.last is not None else "starting"
        return SlotView(
            worker=None if seat is None else seat.index,
            trial=number,
            params=trial.params,
            examples=trial.quanta * budget.quantum if progress is None else progress.examples,
            examples_total=budget.examples,
            train_loss=None if progress is None else finite(progress.train_loss),
            eval_loss=self._ledger.eval_loss(number),
            learning_rate=None if progress is None else progress.learning_rate,
            grad_norm=None if progress is None else finite(progress.grad_norm),
            state=state,
        )
