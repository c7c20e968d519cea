"""How the trials ended, and what stopping some of them early saved."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, have_ended, join, show_count, show_share
from ..study.records import FINAL_STATES, NOT_ENDED, Standing
from .view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Counts of trials, and the training examples that they took."""

    wanted: int
    """Trials that the study is to have in all."""
    counts: dict[Standing, int]
    """State → trials, every state present; those that wait for a place are not among the running."""
    live: bool
    """Whether a process runs the study now."""
    duplicates: int
    """Proposals that repeated an earlier trial; they are not trials."""
    examples: int
    """Training examples that the ended trials saw."""
    full_examples: int
    """Training examples that as many full trials would have seen."""

    @property
    def ended(self) -> int:
        """Trials that are over."""
        return sum(self.counts[state] for state in FINAL_STATES)

    @property
    def saved(self) -> float:
        """Share of the training examples of full trials that was not needed, 0 to 1."""
        return 1 - self.examples / self.full_examples if self.full_examples else 0.0

    @property
    def words(self) -> str:
        """One sentence."""
        if not self.ended:
            return "No trial has ended yet."
        parts = [f"{self.counts[state]} {state}" for state in FINAL_STATES if self.counts[state]]
        text = f"{have_ended(self.ended, self.wanted)}: {join(parts)}."
        if begun := self.counts["running"]:
            verb = "is" if begun == 1 else "are"
            text += f" {begun} more {verb} {'under way' if self.live else 'interrupted'}."
        if waiting := self.counts["waiting"]:
            text += f" {waiting} {'waits' if waiting == 1 else 'wait'} for a place."
        if self.saved > 0.005:
            text += (
                f" They took {counted(self.examples, 'training example')} where as many full trials "
                f"would take {show_count(self.full_examples)}: ending early saved {show_share(self.saved)}."
            )
        return text


def outcomes(view: StudyView) -> Outcomes:
    """Count how the trials of a study ended."""
    counts: dict[Standing, int] = dict.fromkeys((*FINAL_STATES, *NOT_ENDED), 0)
    for trial in view.trials:
        counts["waiting" if trial.number in view.waiting else trial.state] += 1
    ended = [trial for trial in view.trials if trial.state in FINAL_STATES]
    return Outcomes(
        wanted=view.study.trials,
        counts=counts,
        live=view.live,
        duplicates=sum(event.kind == "duplicate" for event in view.events),
        examples=sum(view.examples_seen(trial) for trial in ended),
        full_examples=len(ended) * view.full_examples,
    )
