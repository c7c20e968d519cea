"""Base model, default and best answer the same validation prompts: what training changed, to be read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import UsageError, WorkerError
from ..integrations.peft import why_unusable
from ..objectives.base import Generated, WorkerFailed
from ..objectives.workers.process import ProcessWorker
from ..reports.answer_facts import BASE, beside_the_base
from ..reports.samples import SampledPrompt, Samples
from ..reports.view import StudyView
from ..storage.store import Store
from ..study.format import counted, show_state
from ..study.records import TrialRecord
from . import retraining
from .default_storage import default_storage
from .settling import scratch
from .study_worker import study_worker

MOST_TOKENS = 64
"""Tokens of an answer, at most."""


def samples(
    view: StudyView,
    count: int,
    *,
    retrain: bool = False,
    storage: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
    training: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Samples:
    """Let base model, default and best answer the first validation prompts, the likeliest token each time.

    Args:
        view: the study.
        count: how many prompts, at least 1; where there are fewer validation examples, all of them.
        retrain: train a trial again whose adapter was not kept or is lost; without it that one is left out.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        tell: hears, in sentences, what is done meanwhile.
        training: entered while the models are at work.

    Raises:
        LoratuneError: the data has no prompts, there is no best trial, or model or data have changed.
    """
    if view.data.format == "text":
        raise UsageError(
            f"--samples {count}: the data of study {view.study.name} is plain text, which has no prompts "
            "to write answers to; leave it out"
        )
    best, notes = view.trial(None), []
    with Store.open(storage or default_storage(), mode="read") as store, scratch() as folder, training():
        retraining.check_model(store, view.study)
        writing: list[tuple[str, Path | None, TrialRecord]] = [(BASE, None, best)]
        for trial, name in beside_the_base(view):
            adapter, why = _kept(store, view, trial)
            if adapter is None and retrain and trial.state in ("complete", "pruned"):
                tell(f"{name}: its adapter {why}; training it again, as far as it was …")
                (apart := folder / f"trial-{trial.number}").mkdir(mode=0o700)
                adapter = _again(store, view, trial, apart, tell)
            if adapter is None:
                notes.append(_left_out(view, trial, name, why))
            else:
                writing.append((name, adapter, trial))
        tell(f"loading {view.model.name_or_path} and its data …")
        written = []
        with study_worker(store, view.study, "samples.log") as worker:
            for name, adapter, trial in writing:
                tell(f"{name} writes {counted(min(count, view.data.validation), 'answer')} …")
                worker.generate(adapter, trial.params, count=count, most=MOST_TOKENS)
                written.append(_answer(worker).samples)
    return Samples(
        models=tuple(name for name, _, _ in writing),
        prompts=tuple(
            SampledPrompt(prompt=own[0].prompt, right=own[0].right, written=tuple(one.written for one in own))
            for own in zip(*written, strict=True)
        ),
        most=MOST_TOKENS,
        notes=tuple(notes),
    )


def _kept(store: Store, view: StudyView, trial: TrialRecord) -> tuple[Path | None, str]:
    """Return the file of a trial's adapter, None where it cannot be used, and why."""
    if trial.adapter is None:
        return None, "was not kept"
    adapter = store.study_dir(view.study.id) / trial.adapter
    why = why_unusable(adapter, trial)
    return (adapter, "") if why is None else (None, why)


def _again(
    store: Store, view: StudyView, trial: TrialRecord, folder: Path, tell: Callable[[str], None]
) -> Path:
    """Train a trial again, and keep its adapter where it was kept before; return the file of its state."""
    again = retraining.train_again(store, view.study, trial, folder)
    if trial.adapter is not None:
        tell(retraining.put_back(store, view.study, trial, again))
    return again


def _left_out(view: StudyView, trial: TrialRecord, name: str, why: str) -> str:
    if trial.state not in ("complete", "pruned"):
        return f"{name} is not here: it is {show_state(trial.state, view.live)} and has no adapter."
    return f"{name} is not here: its adapter {why}. With --retrain it is trained again."


def _answer(worker: ProcessWorker) -> Generated:
    event = worker.poll(1.0)
    while not isinstance(event, Generated):
        if isinstance(event, WorkerFailed):
            raise WorkerError(f"the answers could not be written: {event.reason}")
        event = worker.poll(1.0)
    return event
