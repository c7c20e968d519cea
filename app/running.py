"""A study, new or begun before, on as many workers as this machine has room for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from ..metrics.installed import check_installed
from ..objectives import machine
from ..objectives.identity import digests, find_folder
from ..objectives.precheck import precheck
from ..objectives.workers.process import ProcessWorker
from ..search import loop
from ..search.interrupt import StopSignal
from ..search.study_record import check_files, last_slots, objective_of
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS
from ..study.events import Event, Notice, Observer, StudyEnded, StudyStarted
from ..study.facts import Facts
from ..study.records import StudyRecord
from .early import EarlyWorkers
from .options import RunOptions
from .places import count_workers, find_places, machine_of, threads_on
from .preparing import PreparedStudy
from .workers import make_worker


def run_study(
    store: Store,
    study: StudyRecord,
    options: RunOptions,
    *,
    prepared: PreparedStudy | None = None,
    early: EarlyWorkers | None = None,
    notices: Sequence[Notice] = (),
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
) -> StudyEnded:
    """Run a study, new or begun before, on as many workers as the machine has room for.

    ``prepared`` has its first worker where that has looked at model and data already, ``early`` others that
    were started with it. ``notices`` are told at its beginning.
    """
    check_installed(study.config.objective.metric)
    _tell(observers, StudyStarted(study=study.name, trials=study.trials))
    for notice in notices:
        _tell(observers, notice)
    slots = options.slots_wanted
    if slots is not None and prepared is not None:
        slots = min(slots, prepared.facts.slots)  # fewer where memory did not take what was asked for
    facts = study.facts
    objective = objective_of(study, cache_dir=store.artifacts / CACHE, slots=slots)
    objective = dataclasses.replace(objective, deterministic=options.deterministic)
    logs = store.artifacts / LOGS
    chosen = objective.model.device
    here = machine_now(facts) if prepared is None else machine_of(chosen, prepared.facts)
    places = find_places(chosen, facts, here, first=None if prepared is None else prepared.gpu)
    for words in () if prepared is None else prepared.lost:
        _tell(observers, Notice(about="device", text=words))
    if places.note is not None:
        _tell(observers, Notice(about="device", text=places.note))

    @functools.cache
    def look_first() -> None:
        if prepared is None:
            precheck(objective, sized=False)
            check_files(facts.model, digests_now(store, facts))

    def factory(index: int) -> ProcessWorker:
        look_first()
        device = places.device(index)
        threads = threads_on(device)
        taken = None if early is None else early.take(index, threads=threads, device=device)
        return taken or make_worker(index, logs / f"worker-{index}.log", threads=threads, device=device)

    used = last_slots(store, study) if slots is None else slots
    return loop.run(
        store,
        study,
        factory=factory,
        count=count_workers(options.workers_wanted, places, facts, here, study.trials, slots=used),
        prepared=() if prepared is None else [(prepared.worker, prepared.facts)],
        objective=objective,
        observers=observers,
        stop=stop,
        timeout=options.timeout,
        take_over=options.take_over,
        deterministic=options.deterministic,
    )


def digests_now(store: Store, facts: Facts) -> Mapping[str, str]:
    """Return the digests of the base model's files; none where they are not here, or none were stored."""
    folder = find_folder(facts.model.name_or_path, facts.model.revision)
    if folder is None or not facts.model.files:
        return {}
    return digests(folder, store.artifacts / CACHE)


def machine_now(facts: Facts) -> machine.Machine:
    """Return what this machine has; its GPUs are counted where the study needs one."""
    return machine.Machine(
        gpus=machine.count_gpus() if facts.model.on_gpu else 0, ram_bytes=machine.free_ram()
    )


def _tell(observers: Sequence[Observer], event: Event) -> None:
    for observer in observers:
        observer.on_event(event)
