"""From a request to a running search: wires workers, storage and signals to the search.

Draws nothing and parses nothing; the command (cli.py) calls it and prints what it returns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from ..errors import ModelError, OutOfMemory, StorageError, StudyExists, WorkerError
from ..objectives import machine
from ..objectives.base import Done, SlotFailed, SlotResult, WorkerFailed
from ..objectives.identity import digests, find_folder
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search import loop
from ..search.interrupt import StopSignal
from ..search.progress import Observer
from ..search.study_record import (
    SAME_LOSS,
    changed_file,
    check_files,
    compare_facts,
    create,
    facts_of,
    objective_of,
)
from ..spaces.presets import preset, preset_for
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS, write_adapter
from ..study.budget import RUNGS
from ..study.config import ObjectiveConfig
from ..study.facts import Facts
from ..study.records import StudyRecord, TrialRecord
from ..study.study_config import StudyConfig
from .places import check_device, count_workers, find_places, machine_of, threads_on
from .request import Request, choose_preset, default_name, fit_to_budget, make_config

FIRST_SLOTS = 8
"""Slots of the second try where the first one chose a number that memory did not take."""


@dataclasses.dataclass(kw_only=True)
class Prepared:
    """A study that could begin now: its first worker is up and has looked at model and data."""

    config: StudyConfig
    """What the user chose, fitted to the data."""
    facts: Facts
    """What the worker found."""
    worker: ProcessWorker
    """The worker; close it."""


def prepare(
    request: Request,
    *,
    logs: Path,
    cache: Path | None,
    starting: Callable[[], None] = lambda: None,
    deterministic: bool = False,
) -> Prepared:
    """Start a worker and let it look at model and data; raises ``LoratuneError``.

    ``starting`` is called once the request itself has been found right, before what takes long.
    """
    chosen = choose_preset(request)
    config = make_config(request, chosen or preset("default"))
    precheck(config.objective, sized=chosen is not None)
    device = config.objective.model.device
    if device.startswith("cuda"):
        check_device(device, machine.count_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    starting()

    def look(config: StudyConfig, device: str) -> Prepared:
        objective = dataclasses.replace(
            config.objective,
            slots=request.slots,
            cache_dir=None if cache is None else str(cache),
            deterministic=deterministic,
        )
        return _look(config, objective, logs, threads=threads_on(device))

    prepared = look(config, device)
    try:
        fitting = preset_for(prepared.facts.model.parameters)
        if chosen is None and fitting.name != config.preset:
            # Only now is the model's size known, and with it the space.
            prepared.worker.close()
            config = make_config(request, fitting)
            prepared = look(config, prepared.facts.model.device)
        return dataclasses.replace(prepared, config=fit_to_budget(prepared.config, prepared.facts))
    except BaseException:
        prepared.worker.close()
        raise


def _look(config: StudyConfig, objective: ObjectiveConfig, logs: Path, *, threads: int) -> Prepared:
    """Start a worker and let it look; again, with half of the slots, where its memory ran out.

    Raises ``OutOfMemory`` where one trial at a time is too much.
    """
    while True:
        try:
            return _look_once(config, objective, logs, threads=threads)
        except OutOfMemory:
            if objective.slots == 1:
                raise
        slots = FIRST_SLOTS if objective.slots is None else objective.slots // 2
        objective = dataclasses.replace(objective, slots=slots)


def _look_once(config: StudyConfig, objective: ObjectiveConfig, logs: Path, *, threads: int) -> Prepared:
    """Start a worker, let it look, and start it again where it turns out to need other threads."""
    chosen = objective.model.device
    worker = ProcessWorker(
        0, logs / "worker-0.log", threads=threads, device=chosen if chosen.startswith("cuda:") else None
    )
    try:
        facts = worker.prepare(objective)
    except BaseException:
        worker.close()
        raise
    if threads != threads_on(facts.model.device):
        worker.close()
        return _look_once(config, objective, logs, threads=threads_on(facts.model.device))
    return Prepared(config=config, facts=facts, worker=worker)


def make_study(store: Store, request: Request, prepared: Prepared) -> StudyRecord:
    """Make the study, or take the one of that name if it was made of the same choices.

    Where the user gave no name and the default one is taken by another configuration, the next free
    ``name-2`` is.
    """
    base = request.study or default_name(request)
    # Without an end: names may be taken by studies of ours and by others in Optuna's tables.
    for name in itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2))):
        try:
            return create(
                store, name=name, config=prepared.config, facts=prepared.facts, trials=request.trials
            )
        except StudyExists:
            if request.study is not None:
                raise
    raise AssertionError("there are names without end")


def run_study(
    store: Store,
    study: StudyRecord,
    *,
    prepared: Prepared | None = None,
    workers: int | None = None,
    slots: int | None = None,
    observer: Observer,
    stop: StopSignal,
    timeout: float | None = None,
    take_over: bool = False,
    deterministic: bool = False,
) -> loop.Outcome:
    """Run a study, new or begun before, on as many workers as the machine has room for."""
    if slots is not None and prepared is not None:
        slots = min(slots, prepared.facts.slots)  # fewer where memory did not take what was asked for
    facts = facts_of(study)
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=slots)
    objective = dataclasses.replace(objective, deterministic=deterministic)
    logs = store.artifacts / LOGS
    chosen = objective.model.device
    here = _machine_now(facts) if prepared is None else machine_of(chosen, prepared.facts)
    places = find_places(chosen, facts, here)
    if places.note is not None:
        observer.on_message(places.note)

    @functools.cache
    def look_first() -> None:
        if prepared is None:
            precheck(objective, sized=False)
            check_files(facts.model, _digests_now(store, facts))

    def factory(index: int) -> ProcessWorker:
        look_first()
        device = places.device(index)
        threads = threads_on(device)
        return ProcessWorker(index, logs / f"worker-{index}.log", threads=threads, device=device)

    return loop.run(
        store,
        study,
        factory=factory,
        count=count_workers(workers, places, facts, here, study.trials),
        prepared=() if prepared is None else [(prepared.worker, prepared.facts)],
        objective=objective,
        observer=observer,
        stop=stop,
        timeout=timeout,
        take_over=take_over,
        deterministic=deterministic,
    )


def check_model(store: Store, study: StudyRecord) -> None:
    """Raise ``ModelError`` where the base model is no longer the one that the study was made with.

    Its files are read, without loading it; one that is not on this machine is not asked for.
    """
    facts = facts_of(study)
    changed = changed_file(facts.model.files, _digests_now(store, facts))
    if changed is not None:
        raise ModelError(
            f"{facts.model.name_or_path}: {changed}, so the adapter would not fit it; restore the model"
        )


def _digests_now(store: Store, facts: Facts) -> Mapping[str, str]:
    """Return the digests of the base model's files; none where they are not here, or none were stored."""
    folder = find_folder(facts.model.name_or_path, facts.model.revision)
    if folder is None or not facts.model.files:
        return {}
    return digests(folder, store.artifacts / CACHE)


def train_again(store: Store, study: StudyRecord, trial: TrialRecord, folder: Path) -> Path:
    """Train one trial again, as far as it was trained; return the file of its last state.

    On the machine of the study its losses are those of the first time. Raises ``LoratuneError``, also
    where model or data have changed, or where the losses turn out to be others.
    """
    facts = facts_of(study)
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=1)
    # Where the study trained, not where this machine would train by default.
    device = find_places(objective.model.device, facts, _machine_now(facts)).device(0)
    precheck(objective, sized=False)
    log = store.artifacts / LOGS / "export.log"
    worker = ProcessWorker(0, log, threads=threads_on(device), device=device)
    try:
        compare_facts(facts, worker.prepare(objective))
        worker.add(trial.number, trial.params, seed=trial.seed, attempt=trial.attempt, resume_from=None)
        results = [_next_quantum(worker, trial, folder) for _ in range(trial.quanta)]
    finally:
        worker.close()
    _check_same(store, study, trial, results)
    return Path(str(results[-1].checkpoint))


def put_back(store: Store, study: StudyRecord, trial: TrialRecord, checkpoint: Path) -> str:
    """Keep the adapter of a trial that was trained again where the lost one lay; say whether it is."""
    assert trial.adapter is not None, "it was never kept"
    try:
        write_adapter(checkpoint, store.study_dir(study.id) / trial.adapter)
    except StorageError as error:
        # It is exported all the same; the next export trains it again.
        return f"it could not be put back where it was kept: {error}"
    return f"it is kept again as {trial.adapter}"


def planned_workers(request: Request, prepared: Prepared) -> int:
    """Return how many workers a study would have that begins now; raises ``UsageError`` for too many."""
    device, facts = prepared.config.objective.model.device, prepared.facts
    here = machine_of(device, facts)
    return count_workers(request.workers, find_places(device, facts, here), facts, here, request.trials)


def _machine_now(facts: Facts) -> machine.Machine:
    """Return what this machine has; its GPUs are counted where the study needs one."""
    needed = facts.model.device.startswith("cuda")
    return machine.Machine(gpus=machine.count_gpus() if needed else 0, ram_bytes=machine.free_ram())


def _next_quantum(worker: ProcessWorker, trial: TrialRecord, folder: Path) -> SlotResult:
    worker.start(folder)
    event = worker.poll(1.0)
    while not isinstance(event, Done):
        if isinstance(event, WorkerFailed | SlotFailed):
            raise WorkerError(f"trial {trial.number} could not be trained again: {event.reason}")
        event = worker.poll(1.0)
    (result,) = event.results
    if result.checkpoint is None:
        raise WorkerError(f"trial {trial.number} diverged when it was trained again: {result.diverged}")
    return result


def _check_same(store: Store, study: StudyRecord, trial: TrialRecord, results: Sequence[SlotResult]) -> None:
    """Raise ``WorkerError`` where the last evaluation is not the recorded one, but for rounding."""
    last = max(quantum for quantum in RUNGS if quantum <= trial.quanta)
    recorded = store.evaluation(study.id, trial.number, last)
    again = results[last - 1].eval_losses
    if recorded is None or again is None:
        return
    now = sum(again) / int(recorded.tokens.sum())
    if abs(now - recorded.loss) > SAME_LOSS * recorded.loss:
        raise WorkerError(
            f"trial {trial.number}: trained again its eval loss is {now:.4f}, not {recorded.loss:.4f}; "
            "this machine does not repeat the study, so export it where the study was made"
        )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopSignal]:
    """Let Ctrl-C and SIGTERM ask the search to end.

    A third request no longer asks: it interrupts wherever the program is.
    """
    stop = StopSignal()
    times = 0

    def ask(_number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        if times > 2:
            raise KeyboardInterrupt
        stop.request()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, with everything closed on the way out."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Make whatever is written readable by its owner alone: data, models and losses are the user's own."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def scratch(*, keep_for: tuple[type[BaseException], ...] = ()) -> Iterator[Path]:
    """A folder that is gone afterwards, unless one of these errors ended it."""
    folder = Path(tempfile.mkdtemp(prefix="loratune-"))
    try:
        yield folder
    except BaseException as error:
        if not isinstance(error, keep_for):
            _remove(folder)
        raise
    _remove(folder)


def _remove(folder: Path) -> None:
    # What cannot be removed hides neither an error nor a result: it lies in the system's folder for such.
    shutil.rmtree(folder, ignore_errors=True)
