"""A trial leaves for another program: its configuration as a file, or its adapter as a folder."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from ..errors import ReportError, UsageError, nearest
from ..integrations.registry import EXPORTERS
from ..objectives.identity import find_folder
from ..reports.comparison import beside
from ..reports.confirmation import recommended
from ..reports.load import load_view
from ..reports.paired import paired_interval
from ..reports.trained import trained
from ..reports.verdict import went_on_from
from ..reports.view import StudyView
from ..search.study_record import objective_of
from ..storage.store import Store
from ..study.format import counted
from ..study.full_run import EPOCHS
from ..study.handover import Compared, Handover, check_gain
from ..study.ranking import best_trial
from ..study.records import TrialRecord
from ..whole_files import is_there
from . import retraining
from .default_storage import default_storage
from .settling import scratch
from .unlocking import times_opened


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportNotice:
    """Something to know before the export is there."""

    text: str
    """In a sentence."""
    kind: Literal["warning", "progress", "detail"]
    """How it is meant; a detail belongs to the progress before it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A file or a folder that was written."""

    path: Path
    """Where it lies."""
    replaced: bool
    """Whether it took the place of another."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export came to."""

    text: str | None = None
    """The text itself where no place for it was named."""
    written: tuple[Written, ...] = ()
    """What was written."""
    notes: tuple[str, ...] = ()
    """What whoever uses it should know, in sentences."""


def export(
    study: str | None = None,
    *,
    trial: int | None = None,
    format: str = "yaml",  # noqa: A002
    output: Path | None = None,
    epochs: float | None = None,
    force: bool = False,
    anyway: bool = False,
    storage: str | None = None,
    tell: Callable[[ExportNotice], None] = lambda _: None,
    training: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Exported:
    """Export the best trial of a study, or another one, for the trainer that you use.

    Args:
        study: its name; the latest by default.
        trial: a trial's number; by default the one that was confirmed, else the best.
        format: one of ``integrations.registry.EXPORTERS``; ``yaml`` and ``json`` are returned as text where
            there is no ``output``.
        output: a file, or a folder for ``peft`` and ``merged``.
        epochs: length of the full run that is written; None: 3, or its own of a trial trained to the end.
        force: write over a file, or into a folder that holds other things.
        anyway: write the best even if the base model is as good or better.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        tell: hears what is to be known meanwhile.
        training: entered while an adapter that is no longer there is trained again.

    Raises:
        LoratuneError: there is no such study or trial, or it cannot be exported; says why.
    """
    exporter = EXPORTERS.get(format)
    if exporter is None:
        known = ", ".join(EXPORTERS)
        raise UsageError(f"the format {format!r} is not known{nearest(format, EXPORTERS)}: one of {known}")
    where = storage or default_storage()
    with Store.open(where, mode="read") as store:
        view = load_view(store, study)
    chosen = trial
    if trial is None and (confirmed := recommended(view.confirmations, view.study)) is not None:
        chosen, by = confirmed
        tell(ExportNotice(text=f"trial {chosen} is taken: {by.study.name} recommends it", kind="progress"))
    handed = handover(view, chosen, epochs=epochs)
    if trial is None and not anyway:
        check_gain(handed)
    if handed.gains_nothing:
        tell(ExportNotice(text="this trial is no better than the base model", kind="warning"))
    if output is None and exporter.makes != "text":
        raise UsageError(f"--format {format} writes files; say where with -o, such as -o {exporter.example}")
    if exporter.check_place is not None and output is not None:
        exporter.check_place(handed, output, force)
    with contextlib.ExitStack() as stack:
        if exporter.needs_weights:
            folder = stack.enter_context(scratch())
            handed = _with_weights(where, handed, folder, tell, training)
            with Store.open(where, mode="read") as store:
                openings = times_opened(store, handed.data.fingerprint)
            chosen_how = _how_chosen(where, view, handed)
            handed = dataclasses.replace(handed, chosen=chosen_how, test_openings=openings)
        there = output is not None and is_there(output)
        if exporter.needs_folded and output is not None:
            tell(ExportNotice(text="folding the adapter into the base model …", kind="progress"))
            handed = _folded(handed, stack.enter_context(_beside(output)))
        made = exporter.export(handed, output, force)
    # Of other files whatever else they held is kept.
    written = tuple(Written(path=path, replaced=there and path == output) for path in made.written)
    return Exported(text=made.text, written=written, notes=made.notes)


def handover(view: StudyView, number: int | None = None, *, epochs: float | None = None) -> Handover:
    """Return what an exporter is told of a trial, the best one where no number is given.

    Raises ``ReportError`` where there is no such trial.
    """
    trial, best = view.trial(number), view.best()
    to_the_end = _as_trained(view, trial)
    if epochs is None:
        epochs = round(view.epochs, 3) if to_the_end else EPOCHS
    return Handover(
        study=view.study,
        trial=trial,
        examples=view.examples_seen(trial),
        best=best is not None and best.number == trial.number,
        state=view.state_of(trial),
        epochs=epochs,
        compared=_compared(view, trial),
        base_score=view.base_score,
        trained=to_the_end,
    )


def _as_trained(view: StudyView, trial: TrialRecord) -> tuple[str, ...]:
    """Return what there is to say of a trial that was trained to the end; nothing of one that was not."""
    full, came = trained(view, trial), went_on_from(view, trial)
    if full is not None:
        return full.sentences
    # Only the last step's trials keep no state for longer ones.
    if came is None or view.study.config.keep_held or trial.value is None:
        return ()
    examples = counted(view.full_examples, "example")
    return (f"It went on from {came}, to {examples} in all, {view.epochs:.3g} epochs.",)


def _compared(view: StudyView, trial: TrialRecord) -> tuple[Compared, ...]:
    """Return the losses of the base model and of what else a trial is to be read beside."""
    if trial.value is None:
        return ()
    own = view.evaluations.get(trial.number)
    found = [("the base model", view.base_loss, view.base_evaluation)]
    other, name = beside(view, trial)
    if other is not None and other.value is not None and other.number != trial.number:
        found.append((name, other.value, view.evaluations.get(other.number)))
    compared = []
    for name, loss, evaluation in found:
        interval = None if own is None or evaluation is None else paired_interval(evaluation, own)
        ends = {} if interval is None else {"low": interval.low, "high": interval.high}
        compared.append(Compared(name=name, loss=loss, difference=loss - trial.value, **ends))
    return tuple(compared)


def _how_chosen(where: str, view: StudyView, handed: Handover) -> str:
    """Say how a configuration was chosen: among how many, and by what."""
    stage = view.study.config.stage
    number, trials, of, slower = handed.trial.number, view.trials, "", ""
    if stage is not None and number < len(stage.entries):
        lower = view.slowed.get(number)
        number = stage.entries[number].trial
        with Store.open(where, mode="read") as store:
            trials = store.trials(store.study(stage.parent).id)
        of = f" of study {stage.parent}"
        slower = "" if lower is None else f" {lower.words}"
    ended = counted(sum(trial.state != "running" for trial in trials), "trial")
    best = best_trial(trials)
    if best is None or best.number != number:
        return f"Its configuration is trial {number}{of}, which is not the best of {ended} there.{slower}"
    words = "the loss" if view.metric.is_loss else view.metric.words
    return (
        f"Its configuration was chosen as the best of {ended}{of} by {words} on validation examples.{slower}"
    )


@contextlib.contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """Make a folder on the disk of a place that is to be written to, and delete it."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".loratune-", dir=output.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise ReportError(f"{output}: cannot be written ({error.strerror or error})") from error


def _folded(handed: Handover, to: Path) -> Handover:
    """Return the handover with the base model that has the trial's weights folded in."""
    from ..integrations.peft import matrices
    from ..objectives.training.merging import fold

    assert handed.adapter is not None, "its weights come first"
    model = objective_of(handed.study).model
    fold(model, matrices(handed.adapter, handed.trial), handed.trial.params.scaling, to)
    return dataclasses.replace(handed, folded=to)


def _with_weights(
    where: str,
    handed: Handover,
    folder: Path,
    tell: Callable[[ExportNotice], None],
    training: Callable[[], AbstractContextManager[None]],
) -> Handover:
    """Return the handover with the file of the trial's weights, trained again into ``folder`` if need be."""
    record, study = handed.trial, handed.study
    with Store.open(where, mode="read") as store:
        if record.state not in ("complete", "pruned"):
            raise ReportError(f"trial {record.number} is {handed.state}: it has no adapter to export")
        retraining.check_model(store, study)
        if (why := retraining.why_gone(store, study, record)) is None:
            adapter = retraining.kept_file(store, study, record)
        else:
            words = f"the adapter of trial {record.number} {why}; training it again, as far as it was …"
            tell(ExportNotice(text=words, kind="progress"))
            with training():
                adapter = retraining.made_again(
                    store, study, record, folder, lambda text: tell(ExportNotice(text=text, kind="detail"))
                )
    base = find_folder(handed.objective.model.name_or_path, handed.model.revision)
    return dataclasses.replace(handed, adapter=adapter, base=base)
