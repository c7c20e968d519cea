"""The chosen configuration at full length: a study of its own that follows from the search.

Says what is trained, how long and under which name; ``following.py`` makes and runs it.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from typing import Literal

from .. import bounds
from ..bounds import Bounds
from ..errors import ReportError, StorageError, UsageError
from ..reports.confirmation import recommended
from ..reports.load import confirming, load_confirmation
from ..search.interrupt import StopSignal
from ..storage.numbered import numbered
from ..storage.store import Store
from ..study.budget import Budget, plan_budget
from ..study.default_trial import default_trial
from ..study.events import Notice, Observer
from ..study.format import counted
from ..study.full_run import EPOCHS
from ..study.ranking import best_trial
from ..study.records import StudyRecord, TrialRecord
from ..study.sentences import longer_than_searched
from ..study.stage import Entry, Stage, child_name
from ..study.stopping import Keep, Stopping
from .default_storage import default_storage
from .following import configuration, follow
from .options import RunOptions
from .watched import Finished, Watch, nobody

STATES_OF_A_TRIAL = 12
"""Copies of an adapter's bytes on disk at most: two states and one being written, each with Adam's two
moments and the best weights so far."""

MUCH_LONGER = 4
"""Times the length that it was searched at, from which on a configuration may no longer be a good one."""


def train(
    study: str | None = None,
    run: RunOptions | None = None,
    *,
    trial: int | None = None,
    epochs: float | None = None,
    examples: int | None = None,
    beside: Literal["default"] | None = None,
    patience: int | None = None,
    keep: Keep = "best",
    seed: int | None = None,
    storage: str | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    watch: Watch = nobody,
) -> Finished:
    """Train the best configuration of a study at full length, or go on with that.

    It is a study of its own, named after the first with ``.train`` behind: ``resume``, ``export`` and the
    reports take it as any other. Its trials are evaluated after each of their eight rounds, on the first
    validation examples, and at last, with the weights that are kept, on all of them.

    Args:
        study: the search, or what followed from it; the latest by default.
        run: how it is run.
        trial: the trial of the search whose configuration is trained; by default the one that was confirmed,
            else the best.
        epochs: its length in epochs of the training examples; 3 by default.
        examples: its length in training examples, instead of ``epochs``.
        beside: ``default`` also trains the default configuration, to be compared with.
        patience: it ends after so many rounds without a lower loss; never by default.
        keep: the weights of the ``best`` round or of the ``last``.
        seed: of data order, initial values and dropout; by default the trial's own.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        observers: hear the events of ``study.events``.
        stop: how it is asked to end.
        watch: entered once the study is there, left when its run is over.

    Raises:
        LoratuneError: there is nothing to train, or it cannot be; says why, and nothing has begun.
    """
    stopping = Stopping(keep=keep, patience=patience)
    _check_within("epochs", epochs, bounds.EPOCHS)
    _check_within("examples", examples, bounds.EXAMPLES)
    _check_within("seed", seed, bounds.SEED)
    if epochs is not None and examples is not None:
        raise UsageError(f"--epochs {epochs:g} and --examples {examples} both say how long; give one of them")
    if beside not in (None, "default"):
        raise UsageError(f"beside: {beside!r} is not known; it takes 'default'")
    with Store.open(storage or default_storage(), mode="write") as store:
        parent = searched(store, study)
        trials = store.trials(parent.id)
        if trial is None:
            trial = _confirmed(store, parent)
        chosen = [choose(parent, trials, trial)]
        if beside == "default":
            default = _default(parent, trials)
            chosen += [default] if default.params != chosen[0].params else []
        entries = tuple(
            Entry(params=one.params, seed=one.seed if seed is None else seed, trial=one.number)
            for one in chosen
        )
        budget = full_length(parent, epochs=epochs, examples=examples)
        _check_disk(store, parent, chosen[0], len(entries))
        stage = Stage(kind="train", parent=parent.name, entries=entries)
        length = {"examples": budget.examples, "eval_examples": parent.facts.data.validation}
        slots = {"slots": len(entries)} if run is None or run.slots == "auto" else {}
        return follow(
            store,
            parent,
            stage,
            name=_name(store, parent, stage, stopping, **length),
            stopping=stopping,
            notices=_much_longer(parent, budget),
            run=(run or RunOptions()).with_given(slots),
            observers=observers,
            stop=stop,
            watch=watch,
            **length,
        )


def _default(parent: StudyRecord, trials: Sequence[TrialRecord]) -> TrialRecord:
    """Return the trial of the default configuration; raises ``ReportError`` where there is none."""
    found = default_trial(parent, trials)
    if found is None:
        raise ReportError(
            f"study {parent.name!r} has no trial of the default configuration to train beside; leave "
            "--beside out, or name the search itself"
        )
    return found


def _much_longer(parent: StudyRecord, budget: Budget) -> tuple[Notice, ...]:
    searched = parent.facts.budget.examples
    if budget.examples <= MUCH_LONGER * searched:
        return ()
    return (longer_than_searched(budget.examples, searched),)


def _confirmed(store: Store, parent: StudyRecord) -> int | None:
    """Return the trial that a confirmation recommends; None where there is none."""
    found = recommended([load_confirmation(store, one) for one in confirming(store, parent)], parent)
    return None if found is None else found[0]


def searched(store: Store, study: str | None) -> StudyRecord:
    """Return the study that a full length follows from; one that was trained or confirmed names its own."""
    record = store.study(study)
    while record.config.stage is not None and record.config.stage.kind in ("train", "confirm"):
        record = store.study(record.config.stage.parent)
    return record


def choose(parent: StudyRecord, trials: Sequence[TrialRecord], number: int | None) -> TrialRecord:
    """Return the trial that is trained at full length: the one that is asked for, or else the best.

    Raises ``ReportError`` where there is none, or the one that is asked for has come to nothing.
    """
    if number is None:
        best = best_trial(trials)
        if best is None:
            raise ReportError(
                f"study {parent.name!r} has no complete trial yet; go on with: tune resume {parent.name}"
            )
        return best
    found = next((trial for trial in trials if trial.number == number), None)
    if found is None:
        there = f"0 to {len(trials) - 1}" if trials else "none yet"
        raise ReportError(f"study {parent.name!r} has no trial {number}; its trials are {there}")
    if found.state not in ("complete", "pruned"):
        why = f" ({found.reason})" if found.reason else ""
        raise ReportError(
            f"trial {number} of study {parent.name!r} is {found.state}{why}: it cannot be trained at full "
            "length; take another --trial"
        )
    return found


def full_length(parent: StudyRecord, *, epochs: float | None, examples: int | None) -> Budget:
    """Return what a trial of full length is given; raises ``BudgetError`` where that is too little."""
    data = parent.facts.data
    wanted = examples or math.ceil((EPOCHS if epochs is None else epochs) * data.train)
    return plan_budget(
        parent.facts.budget.batch_sizes,
        train_examples=data.train,
        validation_examples=data.validation,
        examples=wanted,
        eval_examples=data.validation,
    )


def _name(
    store: Store, parent: StudyRecord, stage: Stage, stopping: Stopping, *, examples: int, eval_examples: int
) -> str:
    """Return the name of the study: the one that was made of the same choices, or else the first free one."""
    config = configuration(
        parent, stage, examples=examples, eval_examples=eval_examples, keep_held=0, stopping=stopping
    )
    names = numbered(store, lambda number: child_name(parent.name, "train", number))
    return next(name for name, found in names if found is None or not found.config.differences(config))


def _check_within(name: str, value: float | None, ends: Bounds) -> None:
    if value is None:
        return
    if not (ends.low < value if ends.above else ends.low <= value) or value > ends.high:
        least = "above" if ends.above else "at least"
        raise UsageError(f"{name}: {value} is not {least} {ends.low:g} and at most {ends.high:g}")


def _check_disk(store: Store, parent: StudyRecord, trial: TrialRecord, count: int) -> None:
    """Raise ``StorageError`` where the disk has no room for the states of so many trials."""
    # The weights of one adapter, in float32; a study of before does not know how many there are.
    needed = 4 * (parent.facts.model.trainable(trial.params) or 0) * STATES_OF_A_TRIAL * count
    free = shutil.disk_usage(store.artifacts).free
    if free < needed:
        raise StorageError(
            f"{store.artifacts}: {free // 2**20} MiB are free and the states of "
            f"{counted(count, 'trial')} take up to {needed // 2**20 + 1}; free some, then train"
        )
