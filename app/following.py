"""A study that follows from another: made on the parent's model and data, then run, or gone on with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..errors import DataError, StudyNotFound
from ..objectives.precheck import precheck
from ..search.interrupt import StopSignal
from ..search.study_record import check_files, create, objective_of
from ..storage.store import Store
from ..storage.study_files import CACHE, LOGS
from ..study.events import Notice, Observer
from ..study.pruners import NoPruning
from ..study.records import StudyRecord
from ..study.stage import Stage
from ..study.stopping import Stopping
from ..study.study_config import StudyConfig
from .options import RunOptions
from .places import threads_on
from .preparing import PreparedStudy, look_on_any
from .running import digests_now, machine_now, run_study
from .watched import Begun, Finished, Watch, nobody


def follow(
    store: Store,
    parent: StudyRecord,
    stage: Stage,
    *,
    name: str,
    examples: int,
    eval_examples: int,
    keep_held: int = 0,
    stopping: Stopping | None = None,
    keep_adapters: int | None = None,
    notices: Sequence[Notice] = (),
    run: RunOptions | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    watch: Watch = nobody,
) -> Finished:
    """Train the trials of a stage as a study of its own; one that was begun before goes on.

    Args:
        store: opened to write.
        parent: the study that it follows from.
        stage: which trials.
        name: of the new study.
        examples: training examples of each of its trials; rounded up to what the batch sizes divide.
        eval_examples: validation examples of the final evaluation; at most all that there are.
        keep_held: how many of the best keep the state that a longer trial goes on from.
        stopping: how trials of full length end; None for others.
        keep_adapters: how many of the best keep their adapters; as many as the parent's by default.
        notices: what there is to say of it at its beginning.
        run: how it is run.
        observers: hear the events of ``study.events``.
        stop: how it is asked to end.
        watch: entered once the study is there, left when its run is over.

    Raises:
        StudyExists: the name is taken by another study.
        StudyNotFound: the study that it follows from was deleted meanwhile.
        LoratuneError: model or data have changed, or it cannot be run.
    """
    run = run or RunOptions()
    config = configuration(
        parent,
        stage,
        examples=examples,
        eval_examples=eval_examples,
        keep_held=keep_held,
        stopping=stopping,
        keep_adapters=keep_adapters,
    )
    prepared = None if store.holds(name) else _prepare(store, parent, config, run)
    try:
        facts = store.study(name).facts if prepared is None else prepared.facts
        if parent.id not in store.study_ids() and store.holds(parent.name):
            raise StudyNotFound(
                f"study {parent.name!r}: was deleted while {name} was prepared, and another one made under "
                "its name; nothing was made, try again"
            )
        study = create(store, name=name, config=config, facts=facts, trials=len(stage.entries))
        begun = Begun(study=study, storage=store.url, plan=None, store=store)
        with watch(begun) as more:
            if not run.take_over:
                store.check_free(study.name)
            ended = run_study(
                store,
                study,
                run,
                prepared=prepared,
                notices=notices,
                observers=(*observers, *more),
                stop=stop,
            )
    finally:
        if prepared is not None:
            prepared.worker.close()
    return Finished(study=study.name, trials=study.trials, storage=begun.storage, ended=ended)


def configuration(
    parent: StudyRecord,
    stage: Stage,
    *,
    examples: int,
    eval_examples: int,
    keep_held: int = 0,
    stopping: Stopping | None = None,
    keep_adapters: int | None = None,
) -> StudyConfig:
    """Return what a study that follows is made of; arguments as those of ``follow``."""
    return dataclasses.replace(
        parent.config,
        stage=stage,
        pruner=NoPruning(),
        first=parent.config.first[:1],
        learned_from=None,
        keep_held=keep_held,
        ladder=None,
        keep_adapters=keep_adapters or parent.config.keep_adapters,
        objective=dataclasses.replace(
            parent.config.objective,
            examples=examples,
            eval_examples=min(eval_examples, parent.facts.data.validation),
            batch_sizes=parent.facts.budget.batch_sizes,
            # The padded lengths that are found hold for this seed and the next seven.
            seed=min(entry.seed for entry in stage.entries),
            stopping=stopping,
        ),
    )


def _prepare(store: Store, parent: StudyRecord, config: StudyConfig, run: RunOptions) -> PreparedStudy:
    """Bring up the first worker; raises ``LoratuneError`` where it finds another model or other data."""
    # The parent's commit of the model, and what it was found to be; shapes are those of the new length.
    objective = dataclasses.replace(
        config.objective,
        model=objective_of(parent).model,
        slots=run.slots_wanted,
        cache_dir=str(store.artifacts / CACHE),
        deterministic=run.deterministic,
    )
    precheck(objective, sized=False)
    check_files(parent.facts.model, digests_now(store, parent.facts))
    threads = threads_on(parent.facts.model.device)
    gpus = machine_now(parent.facts).gpus or 0
    prepared = look_on_any(config, objective, store.artifacts / LOGS, threads=threads, gpus=gpus)
    if prepared.facts.data.fingerprint != parent.facts.data.fingerprint:
        prepared.worker.close()
        raise DataError(
            f"study {parent.name}: its data, template or tokenizer have changed since; restore them"
        )
    return prepared
