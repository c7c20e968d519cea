"""A trial leaves for another program: its configuration as a file, or its adapter as a folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from ..errors import ReportError, UsageError
from ..integrations.llamafactory import export_llamafactory
from ..integrations.peft import export_peft, why_unusable
from ..integrations.plain import export_json, export_yaml
from ..integrations.tokenizer import notes
from ..objectives.identity import find_folder
from ..reports.full_run import EPOCHS, check_gain, full_run, gains_nothing, provenance
from ..reports.load import load_view
from ..reports.view import StudyView
from ..reports.whole_files import check_free, is_there, write_text
from ..storage.store import Store
from ..study.records import TrialRecord
from . import retraining
from .default_storage import default_storage
from .settling import scratch

ExportFormat = Literal["yaml", "json", "peft", "llamafactory"]
"""What can be written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
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
    format: ExportFormat = "yaml",  # noqa: A002
    output: Path | None = None,
    epochs: float = EPOCHS,
    force: bool = False,
    anyway: bool = False,
    storage: str | None = None,
    tell: Callable[[Told], None] = lambda _: None,
    training: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Exported:
    """Export the best trial of a study, or another one, for the trainer that you use.

    Args:
        study: its name; the latest by default.
        trial: a trial's number; the best by default.
        format: ``yaml`` and ``json`` are returned as text where there is no ``output``.
        output: a file, or a folder for ``peft``.
        epochs: length of the full run that is written.
        force: write over a file, or into a folder that holds other things.
        anyway: write the best even if the base model is as good or better.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        tell: hears what is to be known meanwhile.
        training: entered while an adapter that is no longer there is trained again.

    Raises:
        LoratuneError: there is no such study or trial, or it cannot be exported; says why.
    """
    where = storage or default_storage()
    with Store.open(where, mode="read") as store:
        view = load_view(store, study)
    if not anyway:
        check_gain(view, trial)
    if gains_nothing(view, view.trial(trial)):
        tell(Told(text="this trial is no better than the base model", kind="warning"))
    if format in ("yaml", "json"):
        text = (export_yaml if format == "yaml" else export_json)(view, trial, epochs=epochs)
        if output is None:
            return Exported(text=text)
        there = is_there(output)
        check_free(output, text, force=force)
        write_text(output, text)
        return Exported(written=(Written(path=output, replaced=there),))
    if output is None:
        example = "best/" if format == "peft" else "train.yaml"
        raise UsageError(f"--format {format} writes files; say where with -o, such as -o {example}")
    if format == "peft":
        return _export_peft(where, view, view.trial(trial), output, force, tell, training)
    there = is_there(output)
    path, registry = export_llamafactory(view, trial, output, epochs=epochs, force=force)
    # What else the registry held is kept.
    return Exported(written=(Written(path=path, replaced=there), Written(path=registry, replaced=False)))


def _export_peft(
    where: str,
    view: StudyView,
    record: TrialRecord,
    output: Path,
    force: bool,
    tell: Callable[[Told], None],
    training: Callable[[], AbstractContextManager[None]],
) -> Exported:
    with Store.open(where, mode="read") as store, scratch() as folder:
        if record.state not in ("complete", "pruned"):
            raise ReportError(
                f"trial {record.number} is {view.state_of(record)}: it has no adapter to export"
            )
        retraining.check_model(store, view.study)
        why: str | None = "was not kept"
        adapter = folder
        if record.adapter is not None:
            adapter = store.study_dir(view.study.id) / record.adapter
            why = why_unusable(adapter, record)
        if why:
            words = f"the adapter of trial {record.number} {why}; training it again, as far as it was …"
            tell(Told(text=words, kind="progress"))
            with training():
                adapter = retraining.train_again(store, view.study, record, folder)
                if record.adapter is not None:
                    tell(Told(text=retraining.put_back(store, view.study, record, adapter), kind="detail"))
        base = find_folder(view.objective.model.name_or_path, view.model.revision)
        there = is_there(output)
        export_peft(view, record.number, adapter, output, force=force, base=base)
    sentences = [note[0].upper() + note[1:] + "." for note in notes(view.data.endings, base)]
    sentences += provenance(view, record, full_run(view, record.params, view.examples_seen(record)))
    return Exported(written=(Written(path=output, replaced=there),), notes=tuple(sentences))
