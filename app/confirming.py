"""The best of a study and its default, trained again under several seeds; then the test set, opened once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ..errors import DataError, ReportError, UsageError
from ..reports.confirm_facts import Configuration, Confirmation
from ..reports.confirm_words import FEW_TEST_EXAMPLES, few_test_examples
from ..reports.confirmation import confirmation
from ..reports.load import load_confirmation
from ..search.interrupt import StopSignal
from ..search.study_record import last_slots
from ..storage.numbered import numbered
from ..storage.store import Store
from ..study.default_trial import default_trial
from ..study.events import Observer
from ..study.metric import METRICS
from ..study.ranking import ranked
from ..study.records import StudyRecord, TrialRecord
from ..study.stage import SEEDS_COVERED, Entry, Stage, child_name
from ..study.work import EVAL_COST, passes_beside, work_of_rounds
from .climbing import root_of
from .default_storage import default_storage
from .durations import speed
from .following import follow
from .options import RunOptions
from .places import count_workers, find_places
from .running import machine_now
from .training import searched
from .unlocking import open_test, times_opened
from .watched import Finished, Watch, nobody

TOP = 5
"""Trials that are confirmed beside the default, unless told otherwise."""

SEEDS = 5
"""Seeds under which they are, unless told otherwise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmPlan:
    """What a confirmation is about to do."""

    parent: str
    """The study that was searched."""
    study: str
    """The study that it is confirmed by."""
    begun: bool
    """Whether that was begun before, and goes on."""
    trials: tuple[int, ...]
    """The trials that are confirmed, the best first; the default among them."""
    seeds: int
    """Seeds of each."""
    left: int
    """Trainings that are to be done."""
    examples: int
    """Training examples of each."""
    eval_examples: int
    """Validation examples that each is measured on: all that there are."""
    test_examples: int
    """Test examples."""
    opened: int
    """How often the test set was opened before."""
    opens: bool
    """Whether it will be opened at the end."""
    minutes: float
    """About how long it takes."""
    warnings: tuple[str, ...]
    """What there is to warn of."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmed:
    """What a confirmation came to."""

    finished: Finished
    """How its run ended; where it was interrupted or its time was up, ``resume`` or ``confirm`` goes on."""
    found: Confirmation
    """What was found."""


def confirm(
    study: str | None = None,
    run: RunOptions | None = None,
    *,
    top: int | None = None,
    seeds: int | None = None,
    again: bool = False,
    storage: str | None = None,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    planned: Callable[[ConfirmPlan], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    watch: Watch = nobody,
) -> Confirmed:
    """Train the best trials and the default again under several seeds, then open the test set, once.

    It is a study of its own, ``STUDY.confirm``; one that was begun with the same arguments goes on.

    Args:
        study: the name of the study that was searched, or of one that confirms it; the latest by default, the
            search itself where that is a step above one.
        run: how it is run.
        top: how many of the best complete trials, 5 by default; the default is trained beside them.
        seeds: under how many seeds, 1 to 8, 5 by default; the first is the study's own. Where a confirmation
            is named, and neither of the two, it goes on as it was begun.
        again: open the test set although it was opened before; it is counted.
        storage: the database; ``TUNE_STORAGE`` or ``tune.db`` by default.
        observers: hear the events of ``study.events``.
        stop: how it is asked to end.
        planned: hears what is about to be done, before anything is.
        tell: hears, in sentences, what is done after the training.
        watch: entered once the confirming study is there, left when its run is over.

    Raises:
        LoratuneError: there is nothing to confirm, or it cannot be run; says why.
    """
    _check(top, seeds)
    run = run or RunOptions()
    with Store.open(storage or default_storage(), mode="write") as store:
        named = store.study(study)
        if study is None:  # of a search that climbed, not its last step, which is one long trial
            named = root_of(store, named)
        parent = searched(store, named.name)
        stage = named.config.stage
        if stage is None or stage.kind != "confirm" or top is not None or seeds is not None:
            chosen = _chosen(store, parent, TOP if top is None else top)
            entries = _entries(parent, chosen, SEEDS if seeds is None else seeds)
            stage = Stage(kind="confirm", parent=parent.name, entries=entries)
        name, begun = _name(store, parent, stage)
        if not run.take_over:
            store.check_free(name)
        plan = _plan(store, parent, stage, run, name=name, begun=begun, again=again)
        planned(plan)
        finished = follow(
            store,
            parent,
            stage,
            name=name,
            examples=parent.facts.budget.examples,
            eval_examples=parent.facts.data.validation,
            keep_adapters=len(stage.entries),
            run=run,
            observers=observers,
            stop=stop,
            watch=watch,
        )
        child = store.study(name)
        found = confirmation(load_confirmation(store, child))
        if found.over and found.recommended is not None:
            found = _on_the_test_set(store, child, found, again=again, tell=tell)
    return Confirmed(finished=finished, found=found)


def _check(top: int | None, seeds: int | None) -> None:
    if top is not None and (isinstance(top, bool) or top < 1):
        raise UsageError(f"top: {top} is less than 1; name how many of the best trials are confirmed")
    if seeds is not None and (isinstance(seeds, bool) or not 1 <= seeds <= SEEDS_COVERED):
        raise UsageError(
            f"seeds: {seeds} is not from 1 to {SEEDS_COVERED}, the seeds that a study's shapes are made for"
        )


def _chosen(store: Store, parent: StudyRecord, top: int) -> tuple[TrialRecord, ...]:
    """Return the best trials, the best first, and the default; raises where there is nothing to confirm."""
    store.check_free(parent.name)
    if parent.facts.data.test < 1:
        raise DataError(
            f"study {parent.name}: its data have no test examples, so nothing would be left to look at last; "
            "begin a new study with --test, or with more data"
        )
    trials = store.trials(parent.id)
    best = ranked(trials)
    if not best:
        raise ReportError(
            f"study {parent.name} has no complete trial to confirm; go on with: tune resume {parent.name}"
        )
    trained = [trial for trial in trials if trial.state in ("complete", "pruned", "diverged")]
    default = default_trial(parent, trained)
    return (*best[:top], *([] if default is None or default in best[:top] else [default]))


def _entries(parent: StudyRecord, trials: Sequence[TrialRecord], seeds: int) -> tuple[Entry, ...]:
    """Return every trial under every seed, one seed after another: what is compared is trained together."""
    first = parent.config.objective.seed
    return tuple(
        Entry(params=trial.params, seed=first + offset, trial=trial.number)
        for offset in range(seeds)
        for trial in trials
    )


def _name(store: Store, parent: StudyRecord, stage: Stage) -> tuple[str, bool]:
    """Return the name of the confirming study, and whether it is there: of the same trials and seeds."""
    names = numbered(store, lambda number: child_name(parent.name, "confirm", number))
    return next(
        (name, found is not None) for name, found in names if found is None or found.config.stage == stage
    )


def _plan(
    store: Store,
    parent: StudyRecord,
    stage: Stage,
    run: RunOptions,
    *,
    name: str,
    begun: bool,
    again: bool,
) -> ConfirmPlan:
    facts, budget = parent.facts, parent.facts.budget
    own = store.study(name) if begun else None
    done = 0 if own is None else sum(trial.state != "running" for trial in store.trials(own.id))
    opened = times_opened(store, facts.data.fingerprint)
    left = len(stage.entries) - done
    seeds = len({entry.seed for entry in stage.entries})
    here = machine_now(facts)
    workers = count_workers(
        run.workers_wanted,
        find_places(parent.config.objective.model.device, facts, here),
        facts,
        here,
        len(stage.entries),
        slots=run.slots_wanted or last_slots(store, parent),
    )
    objective = parent.config.objective
    whole = dataclasses.replace(budget, final_eval_examples=facts.data.validation)
    rows = left * work_of_rounds(objective, dataclasses.replace(facts, budget=whole))[-1]
    seconds = rows / max(1e-9, speed(facts, trials=max(1, left), workers=workers))
    if opens := again or not opened:  # the recommended one's and the default's adapters, one after the other
        test = float(facts.data.test)
        if not METRICS[objective.metric].is_loss:  # of the test set nothing else is measured than is needed
            test += passes_beside(objective, facts, facts.data.test)
        adapters = min(2 * seeds, len(stage.entries))
        seconds += adapters * EVAL_COST * test / max(1e-9, speed(facts, trials=1, workers=1))
    few = facts.data.test < FEW_TEST_EXAMPLES
    return ConfirmPlan(
        parent=parent.name,
        study=name,
        begun=begun,
        trials=tuple(dict.fromkeys(entry.trial for entry in stage.entries)),
        seeds=seeds,
        left=left,
        examples=budget.examples,
        eval_examples=facts.data.validation,
        test_examples=facts.data.test,
        opened=opened,
        opens=opens,
        minutes=seconds / 60,
        warnings=(few_test_examples(facts.data.test),) if few else (),
    )


def _on_the_test_set(
    store: Store, child: StudyRecord, found: Confirmation, *, again: bool, tell: Callable[[str], None]
) -> Confirmation:
    """Open the test set for the recommended configuration and the default, unless it was opened before."""
    assert found.recommended is not None
    opened = times_opened(store, child.facts.data.fingerprint)
    if opened and not again:
        if found.tested is not None:
            return found
        times = "once" if opened == 1 else f"{opened} times"
        return dataclasses.replace(
            found,
            untested=f"The test set of these data was opened {times} already, by another confirmation, and "
            "stays closed: what is chosen after a look at it is chosen by it. --again opens it all the same, "
            "and it is counted.",
        )
    measured = [one for one in found.configurations if _is_measured(one, found.recommended)]
    numbers = [number for one in measured for number in one.entries]
    tell(f"opening the test set: {len(numbers)} adapters on {child.facts.data.test} examples …")
    trials = {trial.number: trial for trial in store.trials(child.id)}
    open_test(store, child, [trials[number] for number in numbers], recommended=found.recommended, tell=tell)
    return confirmation(load_confirmation(store, child))


def _is_measured(one: Configuration, recommended: int) -> bool:
    return one.trial == recommended or (one.default and one.lost is None)
