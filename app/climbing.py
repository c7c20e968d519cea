"""From a search that has ended up to one model that is trained to the end: a step at a time, each a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..search.interrupt import StopSignal
from ..storage import study_files
from ..storage.numbered import numbered
from ..storage.store import Store
from ..study.events import Observer
from ..study.ladder import BEGINS, FACTOR, Ladder, Step
from ..study.ranking import ranked
from ..study.records import StudyRecord
from ..study.stage import Entry, Stage, child_name
from .durations import at_once, speed, steps_seconds
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

    A step that was begun keeps its trials, whatever the record has come to say since. ``run.timeout`` is for
    all of it.

    Args:
        store: opened to write.
        search: the study that was given examples in all.
        run: how each step is run.
        ended: how the search's own run ended.
        observers: hear the events of ``study.events``.
        stop: how it is asked to end.
        watch: entered once a step's study is there, left when its run is over.

    Returns how the last step that was taken ended; ``ended`` where there was none. Where steps are left and
    the time is up, it says so.

    Raises:
        LoratuneError: a step cannot be made or run.
    """
    ladder = search.config.ladder
    assert ladder is not None, "only a search that was given examples in all climbs"
    taken, passed = [search], ended.ended.seconds
    for level in range(1, ladder.steps + 1):
        if ended.ended.why not in ("complete", "exhausted"):
            return ended
        below = taken[-1]
        name, begun = _study_of(store, search, below, level)
        step = _next(store, taken, ladder) if begun is None else _step_of(begun, ladder, level)
        if step is None:
            return ended
        left = None if run.timeout is None else run.timeout - passed
        if left is not None and left <= 0:
            return dataclasses.replace(ended, ended=dataclasses.replace(ended.ended, why="timeout"))
        ended = follow(
            store,
            below,
            _stage(store, below, step) if begun is None else _stage_of(begun),
            name=name,
            examples=step.examples,
            eval_examples=search.facts.budget.final_eval_examples,
            keep_held=0 if step.last else step.count,
            run=run.with_given({"timeout": left}),
            observers=observers,
            stop=stop,
            watch=watch,
        )
        passed += ended.ended.seconds
        taken.append(store.study(ended.study))
        if ended.ended.why == "complete":
            # Those that went up stay: a lost adapter is trained again from there.
            went_up = {entry.trial for entry in _stage_of(taken[-1]).entries}
            study_files.drop_held(store.study_dir(below.id), went_up)
    return ended


def step_name(search: str, level: int, number: int = 1) -> str:
    """Return the name of the study of a step: ``demo.x4`` trains four times as long as ``demo``.

    Above 1, ``number`` makes others, for where that is taken by a study that is no step of this search.

    >>> step_name("demo", 2), step_name("demo", 2, 2)
    ('demo.x4', 'demo.x4-2')
    """
    return child_name(search, f"x{FACTOR**level}", number)


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


def _study_of(
    store: Store, search: StudyRecord, below: StudyRecord, level: int
) -> tuple[str, StudyRecord | None]:
    """Return the name of a step's study, and that study where it was begun."""
    names = numbered(store, lambda number: step_name(search.name, level, number))
    return next(one for one in names if one[1] is None or one[1].follows("longer", below.name))


def _stage_of(begun: StudyRecord) -> Stage:
    assert begun.config.stage is not None, "a step follows from what is below it"
    return begun.config.stage


def _step_of(begun: StudyRecord, ladder: Ladder, level: int) -> Step:
    """Return a step as it was begun."""
    count, examples = len(_stage_of(begun).entries), begun.config.objective.examples
    assert examples is not None, "a step's trials have a length"
    return Step(level=level, count=count, examples=examples, last=level == ladder.steps)


def _next(store: Store, taken: Sequence[StudyRecord], ladder: Ladder) -> Step | None:
    """Return the step above the search and the steps that were ``taken``, by what all of them have spent."""
    spent, seconds, expected = 0, 0.0, 0.0
    search, candidates = taken[0], len(ranked(store.trials(taken[-1].id)))
    workers = max(1, len({point.worker for point in store.curve(search.id)}))
    for study in taken:
        starts = [] if study.config.stage is None else [entry.start for entry in study.config.stage.entries]
        trials = store.trials(study.id)
        examples = (sum(trial.rounds for trial in trials) - sum(starts)) * study.facts.budget.round_examples
        spent += examples
        together = len(starts) or at_once(search.facts, trials=len(trials), workers=workers)
        expected += examples / speed(search.facts, trials=together, workers=workers)
        for event in store.events(study.id):
            if event.kind in ("finished", "interrupted"):
                seconds += float(event.detail["seconds"])
    if ladder.hours is not None and seconds > 0:
        # What the time that is left allows, if that is less: as much slower than measured as it was so far.
        left = max(0.0, ladder.hours * 3600 - seconds) * expected / seconds
        above = [step for step in ladder.planned(candidates) if step.level >= len(taken)]
        wanted = sum(step.count * ladder.new_examples(step.level) for step in above)
        takes = steps_seconds(ladder, above, search.facts, workers=workers)
        spent = max(spent, ladder.examples - int(wanted * left / takes)) if takes else spent
    return ladder.next_step(level=len(taken) - 1, spent=spent, candidates=candidates)


def _stage(store: Store, below: StudyRecord, step: Step) -> Stage:
    """Return the trials of a step: the best of those below, each from its state before its decay."""
    chosen = ranked(store.trials(below.id))[: step.count]
    entries = tuple(
        Entry(params=trial.params, seed=trial.seed, trial=trial.number, start=BEGINS) for trial in chosen
    )
    return Stage(kind="longer", parent=below.name, entries=entries)
