"""Base model, default and best answer the same validation prompts: what training changed, to be read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ..errors import UsageError
from ..objectives.base import Generated
from ..reports.answer_facts import BASE, beside_the_base
from ..reports.samples import SampledPrompt, Samples
from ..reports.view import StudyView
from ..storage.store import Store
from ..study.format import counted
from ..study.records import TrialRecord
from . import retraining
from .default_storage import default_storage
from .settling import scratch
from .study_worker import answer_of, study_worker

UNWRITTEN = "the answers could not be written"

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
            why = retraining.why_gone(store, view.study, trial)
            if why is None:
                writing.append((name, retraining.kept_file(store, view.study, trial), trial))
            elif retrain and trial.state in ("complete", "pruned"):
                tell(f"{name}: its adapter {why}; training it again, as far as it was …")
                (apart := folder / f"trial-{trial.number}").mkdir(mode=0o700)
                writing.append((name, retraining.made_again(store, view.study, trial, apart, tell), trial))
            else:
                notes.append(_left_out(view, trial, name, why))
        tell(f"loading {view.model.name_or_path} and its data …")
        written = []
        with study_worker(store, view.study, "samples.log") as worker:
            for name, adapter, trial in writing:
                tell(f"{name} writes {counted(min(count, view.data.validation), 'answer')} …")
                worker.generate(adapter, trial.params, count=count, most=MOST_TOKENS)
                written.append(answer_of(worker, Generated, UNWRITTEN).samples)
    return Samples(
        models=tuple(name for name, _, _ in writing),
        prompts=tuple(
            SampledPrompt(prompt=own[0].prompt, right=own[0].right, written=tuple(one.written for one in own))
            for own in zip(*written, strict=True)
        ),
        most=MOST_TOKENS,
        notes=tuple(notes),
    )


def _left_out(view: StudyView, trial: TrialRecord, name: str, why: str) -> str:
    if trial.state not in ("complete", "pruned"):
        return f"{name} is not here: it is {view.state_of(trial)} and has no adapter."
    return f"{name} is not here: its adapter {why}. With --retrain it is trained again."
