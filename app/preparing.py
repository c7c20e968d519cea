"""From a request to a study that could begin: its first worker is up and has looked at model and data."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import DeviceLost, OutOfMemory, StudyExists
from ..objectives import machine
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search.study_record import create
from ..spaces.presets import preset, preset_for
from ..storage.ahead import import_ahead
from ..storage.store import Store
from ..study.config import ObjectiveConfig
from ..study.facts import Facts
from ..study.records import StudyRecord
from ..study.study_config import StudyConfig
from .durations import training_seconds
from .early import EarlyWorkers, devices_beside_the_first
from .first_trials import fit_to_budget
from .metric_check import check_measurable
from .places import (
    check_count,
    check_device,
    count_workers,
    find_places,
    machine_of,
    may_take_gpu,
    threads_on,
)
from .request import (
    Request,
    choose_preset,
    in_examples,
    ladder_of,
    make_config,
    study_name,
    wanted_trials,
)
from .workers import make_worker

TRAINING_SHARE = 0.75
"""Of the time of a search, what is left beside evaluations, checkpoints and starting up."""

TRIES = 4
"""How often hours are made examples again, by how long those of before would take."""

FIRST_SLOTS = 8
"""Slots of the second try where the first one chose a number that memory did not take."""


@dataclasses.dataclass(kw_only=True)
class PreparedStudy:
    """A study that could begin now: its first worker is up and has looked at model and data."""

    config: StudyConfig
    """What the user chose, fitted to the data."""
    facts: Facts
    """What the worker found."""
    worker: ProcessWorker
    """The worker; close it."""
    gpu: str | None = None
    """The GPU that it was shown alone, such as ``cuda:1``; None where there is but one, or it was named."""
    lost: tuple[str, ...] = ()
    """What was said of GPUs before it that could not be used."""


def prepare(
    request: Request,
    *,
    logs: Path,
    cache: Path | None,
    starting: Callable[[], None] = lambda: None,
    early: EarlyWorkers | None = None,
) -> PreparedStudy:
    """Start a worker and let it look at model and data; raises ``LoratuneError``.

    ``starting`` is called once the request itself has been found right, before what takes long. ``early``
    is given the workers that will probably be wanted beside the first.
    """
    chosen = choose_preset(request)
    config = make_config(request, chosen or preset("default"))
    precheck(config.objective, sized=chosen is not None)
    device, wanted = config.objective.model.device, request.run.workers_wanted
    gpus = machine.count_gpus() if may_take_gpu(device) else 0
    if device.startswith("cuda"):
        check_device(device, gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
        if gpus:
            check_count(wanted, 1 if device.startswith("cuda:") else gpus)
    starting()
    if early is not None:
        import_ahead()
        early.start(logs, devices_beside_the_first(device, wanted, request.search.trials, gpus or 0))

    def look(config: StudyConfig, device: str) -> PreparedStudy:
        objective = dataclasses.replace(
            config.objective,
            slots=request.run.slots_wanted,
            dropout=config.uses_dropout,
            cache_dir=None if cache is None else str(cache),
            deterministic=request.run.deterministic,
        )
        return look_on_any(config, objective, logs, threads=threads_on(device), gpus=gpus or 0)

    prepared = look(config, device)
    try:
        check_measurable(config.objective.metric, prepared.facts)
        fitting = preset_for(prepared.facts.model.parameters)
        if chosen is None and fitting.name != config.preset:
            # Only now is the model's size known, and with it the space.
            prepared.worker.close()
            config = make_config(request, fitting)
            prepared = look(config, prepared.facts.model.device)
        if request.search.hours is not None and request.search.examples_in_all is None:
            return _in_hours(request, prepared, logs=logs, cache=cache)
        return dataclasses.replace(prepared, config=fit_to_budget(prepared.config, prepared.facts))
    except BaseException:
        prepared.worker.close()
        raise


def _in_hours(request: Request, prepared: PreparedStudy, *, logs: Path, cache: Path | None) -> PreparedStudy:
    """Look again at a study of as many examples as the hours allow, by the speed that was measured."""
    prepared.worker.close()
    assert request.search.hours is not None, "only then"
    seconds = request.search.hours * 3600 * TRAINING_SHARE
    facts, workers = prepared.facts, planned_workers(request, prepared)
    sizes = prepared.config.space.batch_sizes()
    examples = int(seconds * facts.rows_per_second * workers)
    # Few trials at once keep no device busy, and how many each step has follows from the examples.
    for _ in range(TRIES):
        ladder = ladder_of(in_examples(request, examples), sizes)
        trials = ladder.most_trials(prepared.config.pruner)
        examples = int(examples * seconds / training_seconds(ladder, facts, trials=trials, workers=workers))
    return prepare(in_examples(request, examples), logs=logs, cache=cache)


def look_on_any(
    config: StudyConfig, objective: ObjectiveConfig, logs: Path, *, threads: int, gpus: int
) -> PreparedStudy:
    """Start a worker and let it look: on the first of so many GPUs, else on the next that can be used.

    A GPU that is broken, or whose memory others hold, is left to the last of the workers. Raises what
    ``bring_up`` does.
    """
    if gpus < 2 or objective.model.device.startswith("cuda:"):
        return bring_up(config, objective, logs, threads=threads)
    lost: list[str] = []
    for gpu in (f"cuda:{index}" for index in range(gpus)):
        try:
            prepared = bring_up(config, objective, logs, threads=threads, gpu=gpu)
        except (OutOfMemory, DeviceLost) as error:
            if len(lost) == gpus - 1:
                raise
            lost.append(f"{gpu}: {error}; going on with the next GPU")
            continue
        if prepared.facts.model.on_gpu:
            # It saw one of them alone.
            environment = {**prepared.facts.environment, "gpus": str(gpus)}
            facts = dataclasses.replace(prepared.facts, environment=environment)
            prepared = dataclasses.replace(prepared, facts=facts, gpu=gpu, lost=tuple(lost))
        return prepared
    raise AssertionError("the last of them raises")


def bring_up(
    config: StudyConfig, objective: ObjectiveConfig, logs: Path, *, threads: int, gpu: str | None = None
) -> PreparedStudy:
    """Start a worker and let it look; again, with half of the slots, where its memory ran out.

    ``gpu`` is shown to it alone. Raises ``OutOfMemory`` where one trial at a time is too much,
    ``DeviceLost`` where its GPU cannot be used.
    """
    while True:
        try:
            return _look_once(config, objective, logs, threads=threads, gpu=gpu)
        except OutOfMemory:
            if objective.slots == 1:
                raise
        slots = FIRST_SLOTS if objective.slots is None else objective.slots // 2
        objective = dataclasses.replace(objective, slots=slots)


def _look_once(
    config: StudyConfig, objective: ObjectiveConfig, logs: Path, *, threads: int, gpu: str | None
) -> PreparedStudy:
    """Start a worker, let it look, and start it again where it turns out to need other threads."""
    chosen = objective.model.device
    named = chosen if chosen.startswith("cuda:") else None
    worker = make_worker(0, logs / "worker-0.log", threads=threads, device=named, sees=gpu)
    try:
        facts = worker.prepare(objective)
    except BaseException:
        worker.close()
        raise
    if threads != threads_on(facts.model.device):
        worker.close()
        return _look_once(config, objective, logs, threads=threads_on(facts.model.device), gpu=gpu)
    return PreparedStudy(config=config, facts=facts, worker=worker)


def make_study(store: Store, request: Request, prepared: PreparedStudy) -> StudyRecord:
    """Make the study, or take the one of that name if it was made of the same choices.

    Where the user gave no name and the default one is taken by another configuration, the next free
    ``name-2`` is.
    """
    base = request.search.study or study_name(request)
    # Without an end: names may be taken by studies of ours and by others in Optuna's tables.
    for name in itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2))):
        try:
            return create(
                store,
                name=name,
                config=prepared.config,
                facts=prepared.facts,
                trials=wanted_trials(request, prepared.config),
            )
        except StudyExists:
            if request.search.study is not None:
                raise
    raise AssertionError("there are names without end")


def planned_workers(request: Request, prepared: PreparedStudy) -> int:
    """Return how many workers a study would have that begins now; raises ``UsageError`` for too many."""
    device, facts = prepared.config.objective.model.device, prepared.facts
    here = machine_of(device, facts)
    return count_workers(
        request.run.workers_wanted,
        find_places(device, facts, here, first=prepared.gpu),
        facts,
        here,
        wanted_trials(request, prepared.config),
        slots=facts.slots,
    )
