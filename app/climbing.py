"""From a search that has ended up to one model that is trained to the end: a step at a time, each a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..search.interrupt import StopSignal
from ..storage import study_files
from ..storage.numbered import numbered
from ..storage.store import Store
from ..study.events import Observer
from ..study.ladder import LOWER, Ladder, Step, at_lower_rate
from ..study.ranking import ranked
from ..study.records import StudyRecord, TrialRecord
from ..study.stage import Entry, Stage, child_name
from .durations import at_once, speed, steps_seconds
from .following import follow
from .options import RunOptions
from .watched import Finished, Watch, nobody

GAINS = 0.4
"""What the best trial at a lower rate must gain beyond itself at its own, as a share of what that gained by
its step: a rate that has just come down lowers the loss somewhat for a while, whatever comes of it later."""

_RUNS = ("finished", "interrupted", "resumed")
"""Events that say how the last run of a study ended; where one was killed, its beginning is the last."""


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
        name, begun = _study_of(store, search, below, ladder.times(level))
        step = _next(store, taken, ladder) if begun is None else _step_of(begun, ladder, level)
        if step is None:
            return ended
        left = None if run.timeout is None else run.timeout - passed
        if left is not None and left <= 0:
            return dataclasses.replace(ended, ended=dataclasses.replace(ended.ended, why="timeout"))
        ended = follow(
            store,
            below,
            _stage(store, below, step, ladder) if begun is None else _stage_of(begun),
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


def is_left(store: Store, search: StudyRecord) -> bool:
    """Return whether a search that was given examples in all, or a step above it, has something to train yet.

    So it is where ``climb`` would begin a step or go on with one; a step that would not pay is none.
    """
    ladder = search.config.ladder
    assert ladder is not None, "only a search that was given examples in all climbs"
    runs = [event.kind for event in store.events(search.id) if event.kind in _RUNS]
    if not runs or runs[-1] != "finished":
        return True
    taken = [search]
    for level in range(1, ladder.steps + 1):
        _, begun = _study_of(store, search, taken[-1], ladder.times(level))
        if begun is None:
            return _next(store, taken, ladder) is not None
        trials = store.trials(begun.id)
        if len(trials) < begun.trials or any(trial.state == "running" for trial in trials):
            return True
        taken.append(begun)
    return False


def step_name(search: str, times: int, number: int = 1) -> str:
    """Return the name of the study of a step: ``demo.x4`` trains four times as long as ``demo``.

    Above 1, ``number`` makes others, for where that is taken by a study that is no step of this search.

    >>> step_name("demo", 4), step_name("demo", 4, 2)
    ('demo.x4', 'demo.x4-2')
    """
    return child_name(search, f"x{times}", number)


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
    store: Store, search: StudyRecord, below: StudyRecord, times: int
) -> tuple[str, StudyRecord | None]:
    """Return the name of a step's study, and that study where it was begun."""
    names = numbered(store, lambda number: step_name(search.name, times, number))
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


def _stage(store: Store, below: StudyRecord, step: Step, ladder: Ladder) -> Stage:
    """Return the trials of a step: the best of those below, each from its state before its decay.

    Of two or more the last is the best one again, at a lower rate from there on: what is best falls as trials
    grow longer (docs/search.md), and a state does not depend on what follows it.
    """
    stage, start = below.config.stage, ladder.begins(step.level)
    parents = () if stage is None else store.trials(store.study(stage.parent).id)
    before = {trial.number: trial.value for trial in parents if trial.value is not None}
    entries = [
        Entry(params=trial.params, seed=trial.seed, trial=trial.number, start=start)
        for trial in going_up(store.trials(below.id), stage, before)[: step.count]
    ]
    lower = at_lower_rate(entries[0].params, below.config.space)
    if step.count > 1 and lower is not None:
        entries[step.count - 1 :] = [dataclasses.replace(entries[0], params=lower, rate=LOWER)]
    return Stage(kind="longer", parent=below.name, entries=tuple(entries))


def going_up(
    trials: Sequence[TrialRecord], stage: Stage | None, before: Mapping[int, float]
) -> Sequence[TrialRecord]:
    """Return the complete trials of a step or of a search, the one that goes up first at the front.

    They stand as ranked, and what went on at two rates stands once. Where the lower rate is ahead, but
    hardly, that is at its own: a rate that was too low costs more, where training is short of steps, than one
    that is still high.

    Args:
        trials: all of the study.
        stage: what its trials are; None of a search, whose trials all begin at their own rate.
        before: the losses of the trials that these went on from, by their numbers.
    """
    if stage is None:
        return ranked(trials)
    standing: dict[int, TrialRecord] = {}
    for one in ranked(trials):
        entry = stage.entries[one.number]
        ahead = standing.get(entry.trial)
        if ahead is not None:
            higher = entry.rate > stage.entries[ahead.number].rate
            if not higher or _gains_more(ahead, one, before[entry.trial]):
                continue
            del standing[entry.trial]  # it stands in its own place, which may be behind others
        standing[entry.trial] = one
    return tuple(standing.values())


def _gains_more(lower: TrialRecord, own: TrialRecord, before: float) -> bool:
    """Return whether a lower rate is so much better that it will be at greater lengths too.

    What is selected by a metric stands by that alone.
    """
    if lower.score is not None:
        return True
    assert lower.value is not None, "complete"
    assert own.value is not None, "complete"
    return own.value - lower.value >= GAINS * (before - own.value)
