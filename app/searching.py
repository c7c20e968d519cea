"""A search as plain functions: what it would do, from its beginning, and where it stood.

Touches nothing of the process that calls: no signal handler, umask, environment or setting of a library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..errors import UsageError, WorkerError
from ..search.interrupt import StopSignal
from ..search.study_record import same_rounds
from ..storage import engine, foreign, study_files
from ..storage.store import Store
from ..study.events import Observer
from ..study.facts import Facts
from ..study.study_config import StudyConfig
from .climbing import climb, root_of
from .default_storage import default_storage
from .earlier import Learned, learn
from .early import EarlyWorkers
from .looking import as_begun, look_first
from .options import RunOptions, SearchOptions
from .pace import Pace, measured_pace
from .planning import Plan
from .preparing import make_study, planned_workers, prepare
from .request import Request, wanted_trials
from .running import run_study
from .settling import borrow_cache, scratch, settle
from .trainer_file import OwnRun
from .watched import Begun, Finished, Watch, nobody


def plan(
    search: SearchOptions | None = None,
    run: RunOptions | None = None,
    *,
    own: OwnRun | None = None,
    preparing: Callable[[], None] = lambda: None,
) -> Plan:
    """Say what a search would do: examples, steps, memory, hours. Trains nothing, writes nothing.

    Args:
        search: what is searched; the embedded demo by default.
        run: how it would be run.
        own: what trial 0 is to be, of ``read_trainer_file``; a known-good configuration by default.
        preparing: called once the options have been found right, before model and data are loaded.

    Raises:
        LoratuneError: the search could not begin; says why.
    """
    request = as_begun(Request(search=search or SearchOptions(), run=run or RunOptions(), own=own))
    # What ends a worker names its log.
    with scratch(keep_for=(WorkerError,)) as folder:
        prepared = prepare(request, logs=folder, cache=None, starting=preparing)
        prepared.worker.close()
    workers = planned_workers(request, prepared)
    learned, pace = _known_before(request, prepared.config, prepared.facts)
    return Plan(
        config=learned.config,
        facts=prepared.facts,
        trials=wanted_trials(request, prepared.config),
        workers=workers,
        earlier=learned.words,
        own=request.own_run,
        pace=pace,
    )


def _known_before(request: Request, config: StudyConfig, facts: Facts) -> tuple[Learned, Pace | None]:
    """Return what a search would take over from the database, and how fast one went, where that is ours."""
    path = engine.parse(request.storage).path
    if path is None or not path.exists() or foreign.look(path).whose != "ours":
        return Learned(config=config, words=None), None
    with Store.open(request.storage, mode="read") as store:
        given, name = request.search.learn_from, request.search.study
        return learn(store, given, config, facts, name=name), measured_pace(
            store, facts, config.objective.metric
        )


def start(
    search: SearchOptions | None = None,
    run: RunOptions | None = None,
    *,
    own: OwnRun | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    preparing: Callable[[], None] = lambda: None,
    watch: Watch = nobody,
) -> Finished:
    """Make a study and run its trials, or go on with one that was made of the same choices.

    Args:
        search: what is searched; the embedded demo by default.
        run: how it is run.
        own: what trial 0 is to be, of ``read_trainer_file``; a known-good configuration by default.
        observers: hear the events of ``study.events``.
        stop: how the search is asked to end, from a handler or another thread.
        preparing: called once the options have been found right, before model and data are loaded.
        watch: entered once the study is there, left when its run is over; gives further observers.

    Raises:
        LoratuneError: the study cannot be made or run; says why.
    """
    request = Request(search=search or SearchOptions(), run=run or RunOptions(), own=own)
    look_first(request)
    request = as_begun(request)
    address = engine.parse(request.storage)
    # Nothing is made here before the study is; what ends a worker names its log.
    with scratch(keep_for=(WorkerError,)) as folder, EarlyWorkers() as early:
        cache = borrow_cache(address.artifacts, folder)
        logs = folder / study_files.LOGS
        prepared = prepare(request, logs=logs, cache=cache, starting=preparing, early=early)
        try:
            workers = planned_workers(request, prepared)
            early.keep(workers)
            with Store.open(request.storage, mode="create") as store:
                learned = learn(
                    store,
                    request.search.learn_from,
                    prepared.config,
                    prepared.facts,
                    name=request.search.study,
                )
                prepared = dataclasses.replace(prepared, config=learned.config)
                study = make_study(store, request, prepared)
                # A study that an earlier version made keeps its own shapes and order of the data.
                fits = same_rounds(study.facts, prepared.facts)
                planned = Plan(
                    config=prepared.config,
                    facts=prepared.facts if fits else study.facts,
                    trials=study.trials,
                    workers=workers,
                    earlier=learned.words,
                    own=request.own_run,
                )
                begun = Begun(study=study, storage=store.url, plan=planned, store=store)
                with watch(begun) as more:
                    if not request.run.take_over:
                        store.check_free(study.name)  # another search may have been quicker
                    settle((prepared.worker, *early.all), folder, store.artifacts)
                    if not fits:
                        prepared.worker.close()
                    ended = run_study(
                        store,
                        study,
                        request.run,
                        prepared=prepared if fits else None,
                        early=early,
                        observers=(*observers, *more),
                        stop=stop,
                    )
                done = Finished(study=study.name, trials=study.trials, storage=begun.storage, ended=ended)
                if study.config.ladder is not None:
                    prepared.worker.close()
                    done = climb(
                        store, study, request.run, ended=done, observers=observers, stop=stop, watch=watch
                    )
        finally:
            prepared.worker.close()
    return done


def resume(
    study: str | None = None,
    run: RunOptions | None = None,
    *,
    trials: int | None = None,
    storage: str | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    watch: Watch = nobody,
) -> Finished:
    """Go on with a study where it stood: to its end, or to ``trials`` in all.

    Args:
        study: its name; the latest by default.
        run: how it is run.
        trials: trials in all, not in addition.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        observers: hear the events of ``study.events``.
        stop: how the search is asked to end, from a handler or another thread.
        watch: entered once the study is there, left when its run is over; gives further observers.

    Raises:
        LoratuneError: there is no such study, or it cannot go on; says why.
    """
    with Store.open(storage or default_storage(), mode="write") as store:
        record = store.study(study)
        if trials is not None and record.config.stage is not None:
            raise UsageError(
                f"--trials {trials}: the trials of study {record.name} are listed, since it follows from "
                f"{record.config.stage.parent}; leave --trials out"
            )
        if trials is not None and record.config.ladder is not None:
            raise UsageError(
                f"--trials {trials}: study {record.name} was given examples in all, which say how many "
                "trials it has; leave --trials out, or begin another study with more examples"
            )
        if trials is not None:
            there = len(store.trials(record.id))
            if trials < there:
                raise UsageError(
                    f"--trials {trials}: study {record.name} has {there} already, and --trials is the total"
                )
            record = dataclasses.replace(record, trials=trials)
        options = run or RunOptions()
        record = root_of(store, record)
        begun = Begun(study=record, storage=store.url, plan=None, store=store)
        with watch(begun) as more:
            ended = run_study(store, record, options, observers=(*observers, *more), stop=stop)
        done = Finished(study=record.name, trials=record.trials, storage=begun.storage, ended=ended)
        if record.config.ladder is not None:
            done = climb(store, record, options, ended=done, observers=observers, stop=stop, watch=watch)
    return done
