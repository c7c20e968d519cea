"""What LoRA is measured against: the training of a trial of full length again, without adapters.

It belongs to the study of that trial: its state lies among that study's files after each round, and what came
of it is an event there.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..atomic import sweep_unfinished
from ..errors import ModelError, OutOfMemory, ReportError, StorageError, WorkerError
from ..objectives.base import Done, SlotFailed, WorkerFailed
from ..objectives.folder import is_quantized
from ..objectives.identity import find_folder
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import check_files, objective_of
from ..storage.numbered import numbered
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS, PLAIN
from ..study.budget import ROUNDS
from ..study.format import show_bytes
from ..study.plain_method import FREEZE_LAYERS, RATE_OF_LORA, PlainMethod, PlainName
from ..study.records import Evaluation, StudyRecord, TrialRecord
from ..study.stage import child_name
from ..study.yardstick import KIND, Yardstick, yardstick_of
from .default_storage import default_storage
from .places import find_places, threads_on
from .running import digests_now, machine_now
from .workers import make_plain_worker

CHOSEN = 0
"""The trial of a study of full length that was chosen; the default may stand beside it."""

STATE_BYTES = 12
"""Of a state on disk for each weight: itself and its two moments in float32."""

STATES = 2
"""The last state, and the one that is being written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainRound:
    """A round of a plain training has ended."""

    method: PlainMethod
    """How it is trained."""
    round: int
    """How many are done, 1 to 8."""
    train_loss: float
    """Mean loss over the target tokens of the round."""
    eval_loss: float
    """Mean loss on the validation examples that a round ends with."""
    seconds: float
    """How long all its rounds took."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainlyTrained:
    """What came of it."""

    study: str
    """The study that it is recorded with."""
    storage: str
    """Its database, without a password."""
    result: Yardstick
    """Losses, memory and time."""
    known: bool
    """Whether it was there already, and nothing was trained."""


def train_plainly(
    study: str | None = None,
    *,
    method: PlainName,
    freeze_layers: int | None = None,
    learning_rate: float | None = None,
    take_over: bool = False,
    storage: str | None = None,
    tell: Callable[[PlainRound], None] = lambda _: None,
) -> PlainlyTrained:
    """Train what was trained at full length again without adapters, or go on with that.

    The same examples in the same order, micro-batches, schedule, clipping and ending, in float32, in a
    process of its own. What is kept is the result; the weights are not.

    Args:
        study: one of full length, or the search that it follows from; the latest by default.
        method: ``full`` trains every weight, ``freeze`` those of the last decoder layers.
        freeze_layers: how many these are; 2 by default.
        learning_rate: its peak; by default a tenth of the trial's.
        take_over: end whoever else works on the study.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        tell: hears of each round.

    Raises:
        LoratuneError: there is nothing to be measured against, or it does not fit; says why.
    """
    with Store.open(storage or default_storage(), mode="write") as store:
        record = full_length_of(store, study)
        trial = _complete(store, record)
        if method == "freeze" and freeze_layers is None:
            freeze_layers = FREEZE_LAYERS
        rate = trial.params.learning_rate / RATE_OF_LORA if learning_rate is None else learning_rate
        chosen = PlainMethod(name=method, layers=freeze_layers, learning_rate=rate)
        known = _known(store, record, chosen)
        if known is None:
            _check_model(record, chosen)
            store.acquire(record.id, take_over=take_over)
            try:
                result = _train(store, record, trial, chosen, tell)
            finally:
                store.release(record.id)
        return PlainlyTrained(
            study=record.name, storage=store.url, result=known or result, known=known is not None
        )


def full_length_of(store: Store, study: str | None) -> StudyRecord:
    """Return the study of full length that is meant: itself, or the latest that follows from a search.

    Raises ``ReportError`` where nothing was trained at full length.
    """
    record = store.study(study)
    if record.config.stage is not None and record.config.stage.kind == "train":
        return record
    while record.config.stage is not None and record.config.stage.kind == "confirm":
        record = store.study(record.config.stage.parent)
    names = numbered(store, lambda number: child_name(record.name, "train", number))
    found = [one for _, one in names if one is not None and one.follows("train", record.name)]
    if not found:
        raise ReportError(
            f"nothing was trained at full length from study {record.name!r} that another method could be "
            f"measured against; begin with: tune train {record.name}"
        )
    return found[-1]


def _complete(store: Store, record: StudyRecord) -> TrialRecord:
    trials = store.trials(record.id)
    trial = trials[CHOSEN] if trials else None
    if trial is None or trial.state == "running":
        raise ReportError(f"study {record.name!r} has not ended yet; go on with: tune resume {record.name}")
    if trial.state != "complete":
        raise ReportError(
            f"trial {CHOSEN} of study {record.name!r} is {trial.state}: nothing can be measured against it"
        )
    return trial


def _known(store: Store, record: StudyRecord, method: PlainMethod) -> Yardstick | None:
    found = (yardstick_of(event) for event in store.events(record.id, KIND))
    return next((one for one in found if one.method == method), None)


def _check_model(record: StudyRecord, method: PlainMethod) -> None:
    """Raise ``ModelError`` where the weights are quantized: they cannot be trained themselves."""
    model = record.facts.model
    folder = find_folder(model.name_or_path, model.revision)
    if folder is not None and is_quantized(folder):
        raise ModelError(
            f"{model.name_or_path}: its weights are quantized, so {method.name} cannot train them; LoRA can"
        )


def _train(
    store: Store,
    record: StudyRecord,
    trial: TrialRecord,
    method: PlainMethod,
    tell: Callable[[PlainRound], None],
) -> Yardstick:
    facts = record.facts
    folder = store.study_dir(record.id) / PLAIN
    state = folder / method.state_name
    sweep_unfinished(folder)
    if method.layers is None:
        _check_disk(store.artifacts, STATES * STATE_BYTES * facts.model.parameters)
    objective = objective_of(record, cache_dir=store.artifacts / CACHE, slots=1)
    device = find_places(objective.model.device, facts, machine_now(facts)).device(0)
    precheck(objective, sized=False)
    check_files(facts.model, digests_now(store, facts))
    log = store.artifacts / LOGS / "plain.log"
    worker = make_plain_worker(log, threads=threads_on(device), device=device)
    try:
        worker.prepare(dataclasses.replace(objective, plain=method, found=facts))
        resume = state if state.is_file() else None
        worker.add(CHOSEN, trial.params, seed=trial.seed, attempt=trial.attempt, resume_from=resume)
        result = _rounds(worker, record, method, folder, tell)
    finally:
        worker.close()
    store.add_event(record.id, KIND, **result.to_json())
    state.unlink(missing_ok=True)
    return result


def _rounds(
    worker: ProcessWorker,
    record: StudyRecord,
    method: PlainMethod,
    folder: Path,
    tell: Callable[[PlainRound], None],
) -> Yardstick:
    tokens = np.asarray(record.facts.eval_tokens, np.int64)
    for _ in range(ROUNDS + 1):
        done = _round(worker, method, folder)
        (result,) = done.results
        if result.diverged is not None:
            raise WorkerError(f"{method.words}: {result.diverged}; take a lower --learning-rate")
        if result.eval_losses is not None:
            seen = int(tokens[: len(result.eval_losses)].sum())
            tell(
                PlainRound(
                    method=method,
                    round=result.round,
                    train_loss=result.train_loss,
                    eval_loss=sum(result.eval_losses) / seen,
                    seconds=done.seconds,
                )
            )
        if result.final_losses is not None:
            assert result.trainable is not None, "a plain training tells it"
            return Yardstick(
                method=method,
                trial=CHOSEN,
                trainable=result.trainable,
                evaluation=Evaluation(losses=np.asarray(result.final_losses, np.float32), tokens=tokens),
                rounds=result.round,
                memory_bytes=done.memory_bytes,
                seconds=done.seconds,
            )
    raise AssertionError("it ends after its last round")


def _round(worker: ProcessWorker, method: PlainMethod, folder: Path) -> Done:
    worker.start(folder)
    while True:
        match worker.poll(1.0):
            case Done(results=()):  # what could not be taken up was told before
                continue
            case Done() as done:
                return done
            case SlotFailed(reason=reason):
                raise StorageError(
                    f"{method.words} cannot go on: {reason}; delete {folder / method.state_name}, and it "
                    "begins anew"
                )
            case WorkerFailed(out_of_memory=True):
                raise OutOfMemory(f"{method.words}: memory ran out; take --method freeze with fewer layers")
            case WorkerFailed(storage=True, reason=reason):
                raise StorageError(reason)
            case WorkerFailed(reason=reason):
                raise WorkerError(f"{reason}; the same command goes on from the last round")


def _check_disk(place: Path, needed: int) -> None:
    """Raise ``StorageError`` where the disk has no room for the states."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise StorageError(
            f"{place}: {show_bytes(free)} are free and the states of such a training take up to "
            f"{show_bytes(needed)}; free some, or take --method freeze"
        )
