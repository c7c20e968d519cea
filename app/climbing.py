"""From a search that has ended up to one model that is trained to the end: a step at a time, each a study."""

from __future__ import annotations

from collections.abc import Sequence

from ..search.interrupt import StopSignal
from ..storage.store import Store
from ..study.events import Observer
from ..study.ladder import BEGINS, Ladder, Step
from ..study.ranking import ranked
from ..study.records import StudyRecord
from ..study.stage import Entry, Stage
from .following import follow
from .options import RunOptions
from .watched import Finished, Watch, nobody


def climb(
    store: Store,
    search: StudyRecord,
    run: RunOptions,
    *,
    ended: Finished,
    observers: Sequence[Observer] = (),
    stop: StopSignal | None = None,
    watch: Watch = nobody,
) -> Finished:
    """Take the steps above a search one after the other, from the first that has not ended.

    Returns how the last step that was taken ended; ``ended``, how the search did, where there was none.

    Raises:
        LoratuneError: a step cannot be made or run.
    """
    ladder = search.config.ladder
    assert ladder is not None, "only a search that was given examples in all climbs"
    below = search
    for level in range(ladder.steps):
        if ended.ended.why not in ("complete", "exhausted"):
            return ended
        step = _next(store, search, below, ladder, level)
        if step is None:
            return ended
        ended = follow(
            store,
            below,
            _stage(store, below, step),
            name=step_name(search.name, step.level),
            examples=step.examples,
            eval_examples=search.facts.budget.final_eval_examples,
            keep_held=0 if step.last else step.count,
            run=run,
            observers=observers,
            stop=stop,
            watch=watch,
        )
        below = store.study(ended.study)
    return ended


def step_name(search: str, level: int) -> str:
    """Return the name of the study of a step: ``demo.x4`` trains four times as long as ``demo``.

    >>> step_name("demo", 2)
    'demo.x4'
    """
    suffix = f".x{2**level}"
    return search[: 64 - len(suffix)] + suffix


def root_of(store: Store, study: StudyRecord) -> StudyRecord:
    """Return the search that a step belongs to; the study itself where it is no step of one."""
    found = study
    while found.config.stage is not None and found.config.stage.kind == "longer":
        found = store.study(found.config.stage.parent)
    return found if found.config.ladder is not None else study


def came_from(store: Store, study: StudyRecord, trial: int) -> tuple[str, int]:
    """Return the search that a step's trial began in, and its number there; itself where it is no step's."""
    found, number = study, trial
    while found.config.stage is not None and found.config.stage.kind == "longer":
        number = found.config.stage.entries[number].trial
        found = store.study(found.config.stage.parent)
    return found.name, number


def _next(store: Store, search: StudyRecord, below: StudyRecord, ladder: Ladder, level: int) -> Step | None:
    spent, seconds = 0, 0.0
    for head in [search.name, *(step_name(search.name, up) for up in range(1, level + 1))]:
        study = store.study(head)
        starts = [] if study.config.stage is None else [entry.start for entry in study.config.stage.entries]
        rounds = sum(trial.rounds for trial in store.trials(study.id)) - sum(starts)
        spent += rounds * study.facts.budget.round_examples
        for event in store.events(study.id):
            if event.kind in ("finished", "interrupted"):
                seconds += float(event.detail["seconds"])
    if ladder.hours is not None and seconds > 0:
        # What the time that is left allows at the pace of what was trained so far, if that is less.
        left = max(0.0, ladder.hours * 3600 - seconds) * spent / seconds
        spent = max(spent, ladder.examples - int(left))
    return ladder.next_step(level=level, spent=spent, candidates=len(ranked(store.trials(below.id))))


def _stage(store: Store, below: StudyRecord, step: Step) -> Stage:
    """Return the trials of a step: the best of those below, each from its state before its decay."""
    chosen = ranked(store.trials(below.id))[: step.count]
    entries = tuple(
        Entry(params=trial.params, seed=trial.seed, trial=trial.number, start=BEGINS) for trial in chosen
    )
    return Stage(kind="longer", parent=below.name, entries=entries)
