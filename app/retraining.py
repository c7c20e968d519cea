"""A trial whose adapter is no longer there, trained again on the machine of its study."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import DamagedFile, ModelError, StorageError, WorkerError
from ..integrations.peft import why_unusable
from ..objectives.base import Done, SlotFailed, SlotResult, WorkerFailed
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import SAME_LOSS, changed_file
from ..storage.store import Store
from ..storage.study_files import copy_state, held_name, write_adapter
from ..study.budget import BEFORE_DECAY
from ..study.checkpoint_format import checkpoint_name
from ..study.records import StudyRecord, TrialRecord
from .running import digests_now
from .study_worker import study_worker


def check_model(store: Store, study: StudyRecord) -> None:
    """Raise ``ModelError`` where the base model is no longer the one that the study was made with.

    Its files are read, without loading it; one that is not on this machine is not asked for.
    """
    facts = study.facts
    changed = changed_file(facts.model.files, digests_now(store, facts))
    if changed is not None:
        raise ModelError(
            f"{facts.model.name_or_path}: {changed}, so the adapter would not fit it; restore the model"
        )


def train_again(store: Store, study: StudyRecord, trial: TrialRecord, folder: Path) -> Path:
    """Train one trial again, as far as it was trained; return the file of its last state.

    On the machine of the study its losses are those of the first time. One that went on from another trial's
    state goes on from it again. Raises ``LoratuneError``, also where model or data have changed, or where the
    losses turn out to be others.
    """
    done, state = _beginning(store, study, trial, folder)
    with study_worker(store, study, "export.log") as worker:
        worker.add(trial.number, trial.params, seed=trial.seed, attempt=trial.attempt, resume_from=state)
        results = {number: _next_round(worker, trial, folder) for number in range(done + 1, trial.rounds + 1)}
    _check_same(store, study, trial, results)
    return folder / checkpoint_name(trial.number, trial.rounds, trial.attempt)


def _beginning(store: Store, study: StudyRecord, trial: TrialRecord, folder: Path) -> tuple[int, Path | None]:
    """Return how many rounds a trial had done at its beginning, and the state that it went on from.

    That state is the parent's; where it is lost, what led to it is trained again first.
    """
    stage = study.config.stage
    entry = None if stage is None else stage.entries[trial.number]
    if stage is None or entry is None or not entry.start or _began_anew(store, study, trial.number):
        return 0, None
    parent = store.study(stage.parent)
    state = folder / checkpoint_name(trial.number, entry.start, trial.attempt)
    held = store.study_dir(parent.id) / held_name(entry.trial)
    try:
        copy_state(held, state, trial=trial.number, params=entry.params)
    except DamagedFile:
        below = dataclasses.replace(store.trials(parent.id)[entry.trial], rounds=BEFORE_DECAY)
        apart = folder / f"below-{parent.id}"
        apart.mkdir(mode=0o700, exist_ok=True)
        again = train_again(store, parent, below, apart)
        copy_state(again, state, trial=trial.number, params=entry.params)
    return entry.start, state


def _began_anew(store: Store, study: StudyRecord, number: int) -> bool:
    """Return whether a trial was set back to its very beginning: then it has nothing of the parent's."""
    events = store.events(study.id, "started_over")
    return any(event.detail["trial"] == number and not event.detail["rounds"] for event in events)


def why_gone(store: Store, study: StudyRecord, trial: TrialRecord) -> str | None:
    """Return in a clause why a trial's adapter cannot be used as it lies; None where it can."""
    if trial.adapter is None:
        return "was not kept"
    return why_unusable(kept_file(store, study, trial), trial)


def kept_file(store: Store, study: StudyRecord, trial: TrialRecord) -> Path:
    """Return where the adapter of a trial lies that was kept."""
    assert trial.adapter is not None, "it was never kept"
    return store.study_dir(study.id) / trial.adapter


def made_again(
    store: Store, study: StudyRecord, trial: TrialRecord, folder: Path, tell: Callable[[str], None]
) -> Path:
    """Train a trial again, and keep its adapter where it was kept before; return the file of its state.

    ``tell`` hears whether it is kept. Raises what ``train_again`` does.
    """
    again = train_again(store, study, trial, folder)
    if trial.adapter is not None:
        tell(put_back(store, study, trial, again))
    return again


def put_back(store: Store, study: StudyRecord, trial: TrialRecord, checkpoint: Path) -> str:
    """Keep the adapter of a trial that was trained again where the lost one lay; say whether it is."""
    try:
        write_adapter(checkpoint, kept_file(store, study, trial))
    except StorageError as error:
        # It is exported all the same; the next export trains it again.
        return f"it could not be put back where it was kept: {error}"
    return f"it is kept again as {trial.adapter}"


def _next_round(worker: ProcessWorker, trial: TrialRecord, folder: Path) -> SlotResult:
    worker.start(folder)
    event = worker.poll(1.0)
    while not isinstance(event, Done):
        if isinstance(event, WorkerFailed | SlotFailed):
            raise WorkerError(f"trial {trial.number} could not be trained again: {event.reason}")
        event = worker.poll(1.0)
    (result,) = event.results
    if result.diverged is not None:
        raise WorkerError(f"trial {trial.number} diverged when it was trained again: {result.diverged}")
    return result


def _check_same(
    store: Store, study: StudyRecord, trial: TrialRecord, results: Mapping[int, SlotResult]
) -> None:
    """Raise ``WorkerError`` where the last evaluation is not the recorded one, but for rounding."""
    last = max(round_number for round_number in study.facts.budget.rungs if round_number <= trial.rounds)
    again = results[last].eval_losses
    if (final := results[trial.rounds].final_losses) is not None:
        last, again = trial.rounds, final
    recorded = store.evaluation(study.id, trial.number, last)
    if recorded is None or again is None:
        return
    now = sum(again) / int(recorded.tokens.sum())
    if abs(now - recorded.loss) > SAME_LOSS * recorded.loss:
        raise WorkerError(
            f"trial {trial.number}: trained again its eval loss is {now:.4f}, not {recorded.loss:.4f}; "
            "this machine does not repeat the study, so export it where the study was made"
        )
