"""One trial on its way to another program: all that an exporter is told, and what every export says of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..errors import ReportError
from .format import counted, show_loss, show_share
from .full_run import EPOCHS, FullRun
from .metric import METRICS
from .parts import StudyParts
from .ranking import gains_nothing
from .records import StudyRecord, TrialRecord


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """Something else's loss on the validation examples of a trial."""

    name: str
    """What it is."""
    loss: float
    """Its loss."""
    difference: float
    """How much higher that is than the trial's."""
    low: float | None = None
    """Lower end of the 95 % interval of the difference; None where there are too few common examples."""
    high: float | None = None
    """Upper end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handover(StudyParts):
    """A trial that leaves its study; holds no connection, so it can be made up in a test."""

    study: StudyRecord
    """The study."""
    trial: TrialRecord
    """The trial."""
    examples: int
    """Training examples that it has seen."""
    best: bool
    """Whether it is the best of its study."""
    state: str
    """The trial's state in a word: one that has not ended runs, waits for a place or is interrupted."""
    epochs: float = EPOCHS
    """Length of the full run that is written."""
    adapter: Path | None = None
    """File of its weights, for an exporter that needs them."""
    base: Path | None = None
    """Folder of the base model on this machine; None where there is none, or nobody looked for it."""
    folded: Path | None = None
    """Folder of the base model with the adapter folded in, for an exporter that needs it."""
    compared: tuple[Compared, ...] = ()
    """The losses that its own is to be read beside."""
    trained: tuple[str, ...] = ()
    """What there is to say of a trial of full length, in sentences; empty for one of a search."""
    base_score: float | None = None
    """What the base model has of what its study selects by; None where that is the loss or is not known."""
    chosen: str = ""
    """How it was chosen, in a sentence."""
    test_openings: int = 0
    """How often the test set of its data was looked at, by whichever study of the database."""

    @property
    def model_name(self) -> str:
        """The base model as others can find it: a folder's full path, or the Hub id."""
        name = self.objective.model.name_or_path
        folder = Path(name).expanduser()
        return str(folder.resolve()) if folder.is_dir() else name

    @property
    def revision(self) -> str | None:
        """The Hub's commit of the base model; None for a folder."""
        return self.model.revision or self.objective.model.revision

    @property
    def formats(self) -> tuple[str, ...]:
        """The format of each file to train on."""
        return self.data.formats or (self.data.format,)

    def used_columns(self, path: str) -> dict[str, str]:
        """Return what each column of a data file was used as, in words; none of those that were not."""
        name = self.objective.data.names[path]
        return {use.name: use.used_as for use in self.data.columns if use.file == name and use.used_as}

    @property
    def selected(self) -> str:
        """What its study selects by and what it has of that, before its loss; empty where it is that."""
        words, score = METRICS[self.objective.metric].words, self.trial.score
        return "" if score is None else f"{words} {show_loss(score)}, "

    @property
    def quantized(self) -> str:
        """What there is to say of a base that was quantized on loading, as a sentence; else empty."""
        bits = self.objective.model.quantization_bit
        if bits is None:
            return ""
        return (
            f"It was trained on the base model in {bits} bits (quantized on loading, by bitsandbytes): its "
            "losses are of that, and are a little otherwise on the unquantized weights."
        )

    @property
    def gains_nothing(self) -> bool:
        """Whether the trial is no better than the base model, by what its study selects by."""
        value = self.trial.value
        return value is not None and gains_nothing(value, self.base_loss, self.trial.score, self.base_score)

    def run(self, train: int | None = None) -> FullRun:
        """Return the full run of its configuration, on so many training examples; None: the study's own."""
        return FullRun(
            epochs=self.epochs,
            train_examples=self.data.train if train is None else train,
            batch_size=self.trial.params.batch_size,
            warmup_ratio=self.trial.params.warmup_ratio,
            trial_examples=self.examples,
        )


def check_gain(handed: Handover) -> None:
    """Raise ``ReportError`` where the base model is as good as the trial or better."""
    if handed.gains_nothing:
        trial, base = handed.trial, show_loss(handed.base_loss)
        own = f"{handed.selected}eval loss" if handed.selected else "an eval loss of"
        if trial.score is not None and handed.base_score is not None:
            base = f"{show_loss(handed.base_score)}, {base}"
        raise ReportError(
            f"trial {trial.number} is the best with {own} {show_loss(trial.value)}, and the base model has "
            f"{base}: there is nothing to gain from it; search lower learning rates or longer trials, or "
            "write it --anyway"
        )


def provenance(handed: Handover, run: FullRun | None = None) -> tuple[str, ...]:
    """Return what every export says of where its configuration comes from, as sentences."""
    run = run or handed.run()
    trial, seen = handed.trial, handed.examples
    what = f"Trial {trial.number} of study {handed.study.name}"
    if handed.best:
        what += ", the best"
    if trial.value is not None:
        loss = (
            f"{handed.selected}eval loss {show_loss(trial.value)} on "
            f"{counted(handed.budget.final_eval_examples, 'validation example')} "
            f"(base model: {show_loss(handed.base_loss)})."
        )
    else:
        ended = trial.state != "running"
        loss = f"it ended as {trial.state}" if ended else f"it is {handed.state}"
        loss += ", so it has no final loss: its configuration is untested at full length."
    no_gain = "Warning: it is no better than the base model; training with it gains nothing."
    per_token = (
        "The loss is the mean over all target tokens of the set; Trainer averages the means of its batches."
    )
    quantized = (handed.quantized,) if handed.quantized else ()
    if handed.trained:
        gain = (no_gain,) if handed.gains_nothing else ()
        return f"{what}: {loss}", " ".join(handed.trained), *gain, *quantized, per_token
    return (
        f"{what}: {loss}",
        *((no_gain,) if handed.gains_nothing else ()),
        f"Selected after {counted(seen, 'training example')}, {seen / max(1, handed.data.train):.3g} epochs: "
        f"{show_share(run.share)} of a run of {run.epochs:g} {'epoch' if run.epochs == 1 else 'epochs'} of "
        f"{counted(run.train_examples, 'example')}.",
        "The best learning rate of a short trial runs high: before a long run, try a lower one too.",
        *quantized,
        per_token,
    )
