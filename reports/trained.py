"""What there is to say of a trial of full length: whose configuration it is, how long, and which weights."""

from __future__ import annotations

import dataclasses

from ..study.format import counted, show_count
from ..study.records import TrialRecord
from ..study.stopping import Keep
from .view import StudyView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """One trial of full length that has ended."""

    parent: str
    """The study that its configuration comes from."""
    trial: int
    """That study's trial."""
    rounds: int
    """Rounds it was trained for, of a whole trial's ``of``."""
    of: int
    """Rounds of a whole trial."""
    kept: int
    """The round whose weights are kept."""
    keep: Keep
    """How these were chosen."""
    patience: int | None
    """After how many rounds without a lower loss it was to end; None: never."""
    examples: int
    """Training examples that it saw."""
    train_examples: int
    """Training examples that there are."""
    rung_examples: int
    """Validation examples that it was evaluated on after each round."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was trained, and what is kept of it."""
        epochs = self.examples / max(1, self.train_examples)
        length = (
            f"It is trial {self.trial} of study {self.parent}, trained on {show_count(self.examples)} "
            f"examples, {epochs:.3g} {'epoch' if epochs == 1 else 'epochs'}."
        )
        kept = f"Kept are the weights after round {self.kept} of {self.of}"
        if self.keep == "best":
            kept += f", of the lowest loss on {counted(self.rung_examples, 'validation example')}"
        if self.rounds < self.of:
            assert self.patience is not None, "nothing else ends it early"
            waited = counted(self.patience, "round")
            kept += f"; it ended after round {self.rounds}, as {waited} brought nothing lower"
        return length, kept + "."


def trained(view: StudyView, trial: TrialRecord) -> Trained | None:
    """Return what there is to say of a trial; None where its study is not one of full length."""
    stage, stopping = view.study.config.stage, view.objective.stopping
    if stage is None or stopping is None or trial.value is None:
        return None
    losses = [point.eval_loss for point in view.points(trial.number) if point.eval_loss is not None]
    first = trial.rounds - len(losses)
    return Trained(
        parent=stage.parent,
        trial=stage.entries[trial.number].trial,
        rounds=trial.rounds,
        of=view.budget.rungs[-1],
        kept=first + stopping.kept_round(losses),
        keep=stopping.keep,
        patience=stopping.patience,
        examples=view.examples_seen(trial),
        train_examples=view.data.train,
        rung_examples=view.budget.eval_examples,
    )
