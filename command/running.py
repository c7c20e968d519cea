"""From a request to a running search: wires workers, storage and signals to the search.

Draws nothing and parses nothing; the command (cli.py) calls it and prints what it returns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from ..objectives.base import Done, Facts, ObjectiveConfig, SlotFailed, WorkerFailed
from ..objectives.process import ProcessWorker
from ..search import loop
from ..search.admit import in_flight_limit
from ..search.config import StudyConfig
from ..search.snapshot import Observer
from ..search.stop import StopSignal
from ..search.study import create, facts_of, objective_of
from ..spaces.budget import QUANTA
from ..spaces.errors import StudyExists, UsageError, WorkerError
from ..spaces.presets import preset, preset_for
from ..storage.records import StudyRecord, TrialRecord
from ..storage.store import Store
from .request import Request, choose_preset, default_name, fit_to_budget, make_config

LOGS = "logs"
CACHE = "cache"


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
    request: Request, *, logs: Path, cache: Path | None, starting: Callable[[], None] = lambda: None
) -> Prepared:
    """Start a worker and let it look at model and data; raises ``LoratuneError``.

    ``starting`` is called once the request itself has been found right, before what takes long.
    """
    chosen = choose_preset(request)
    config = make_config(request, chosen or preset("default"))
    starting()
    worker = ProcessWorker(0, logs / "worker-0.log", threads=_threads(config.objective.model.device))
    try:
        objective = dataclasses.replace(
            config.objective, slots=request.slots, cache_dir=None if cache is None else str(cache)
        )
        facts = worker.prepare(objective)
        if chosen is None and preset_for(facts.model.parameters).name != config.preset:
            # Only now is the model's size known, and with it the space.
            worker.close()
            chosen = preset_for(facts.model.parameters)
            config = make_config(request, chosen)
            worker = ProcessWorker(0, logs / "worker-0.log", threads=_threads(config.objective.model.device))
            objective = dataclasses.replace(
                config.objective, slots=objective.slots, cache_dir=objective.cache_dir
            )
            facts = worker.prepare(objective)
        return Prepared(config=fit_to_budget(config, facts), facts=facts, worker=worker)
    except BaseException:
        worker.close()
        raise


def make_study(store: Store, request: Request, prepared: Prepared) -> StudyRecord:
    """Make the study, or take the one of that name if it was made of the same choices.

    Where the user gave no name and the default one is taken by another configuration, the next free
    ``name-2`` is.
    """
    taken = {study.name for study in store.studies()}
    base = request.study or default_name(request)
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    for name in names:
        try:
            return create(
                store, name=name, config=prepared.config, facts=prepared.facts, trials=request.trials
            )
        except StudyExists:
            if request.study is not None:
                raise
    raise AssertionError("one of these names is free")


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
    facts = facts_of(study)
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=slots)
    logs = store.artifacts / LOGS
    on_gpu = facts.model.device.startswith("cuda")
    threads = _threads(facts.model.device)

    def factory(index: int) -> ProcessWorker:
        device = f"cuda:{index}" if on_gpu else None
        return ProcessWorker(index, logs / f"worker-{index}.log", threads=threads, device=device)

    return loop.run(
        store,
        study,
        factory=factory,
        count=count_workers(workers, facts, study.trials),
        prepared=() if prepared is None else [(prepared.worker, prepared.facts)],
        objective=objective,
        observer=observer,
        stop=stop,
        timeout=timeout,
        take_over=take_over,
        deterministic=deterministic,
    )


def count_workers(wanted: int | None, facts: Facts, trials: int) -> int:
    """Return how many workers to start: one per GPU, or one per core as far as memory goes."""
    if facts.model.device.startswith("cuda"):
        there = int(facts.environment.get("gpus", "1"))
        if wanted is not None and wanted > there:
            raise UsageError(f"--workers {wanted}: there is one worker per GPU, and {there} GPUs were found")
    else:
        held = facts.memory.base_bytes + facts.slots * facts.memory.slot_bytes
        there = max(1, min(_cores(), facts.memory.available_bytes // max(1, held)))
    return max(1, min(wanted or there, in_flight_limit(trials)))


def train_again(store: Store, study: StudyRecord, trial: TrialRecord, folder: Path) -> Path:
    """Train one trial from its beginning in a worker of its own; return the file of its final state.

    On the machine of the study the numbers are those of the first time. Raises ``LoratuneError``.
    """
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=1)
    threads = _threads(facts_of(study).model.device)
    worker = ProcessWorker(0, store.artifacts / LOGS / "export.log", threads=threads)
    try:
        return _train_through(worker, objective, trial, folder)
    finally:
        worker.close()


def _train_through(
    worker: ProcessWorker, objective: ObjectiveConfig, trial: TrialRecord, folder: Path
) -> Path:
    worker.prepare(objective)
    worker.add(trial.number, trial.params, seed=trial.seed, attempt=trial.attempt, resume_from=None)
    checkpoint: Path | None = None
    for _ in range(QUANTA):
        worker.start(folder)
        event = worker.poll(1.0)
        while not isinstance(event, Done):
            if isinstance(event, WorkerFailed | SlotFailed):
                raise WorkerError(f"trial {trial.number} could not be trained again: {event.reason}")
            event = worker.poll(1.0)
        result = event.results[0]
        if result.diverged is not None or result.checkpoint is None:
            raise WorkerError(f"trial {trial.number} has no adapter: it diverged, {result.diverged}")
        if checkpoint is not None:
            checkpoint.unlink()
        checkpoint = Path(result.checkpoint)
    assert checkpoint is not None
    return checkpoint


@contextlib.contextmanager
def stop_on_signals(told: Callable[[int], None]) -> Iterator[StopSignal]:
    """Let Ctrl-C and SIGTERM ask the search to end; ``told`` hears how often it was asked.

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
        told(times)

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
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="loratune-") as folder:
        yield Path(folder)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)


def _threads(device: str) -> int:
    """One thread on a CPU, where each core has a worker of its own; a GPU's worker has the CPU to itself."""
    return min(8, _cores()) if device.startswith("cuda") else 1
