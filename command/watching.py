"""A search before the user's eyes: the view that fits the terminal, the log, and how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from ..app.planning import Plan
from ..app.watched import Begun, Finished, Watch
from ..search.interrupt import StopSignal
from ..storage import study_files
from ..storage.store import Store
from ..study.events import Event, Observer, StudyStarted
from ..study.format import counted, have_ended, show_count, show_seconds
from ..study.ranking import best_trial
from ..study.records import StudyRecord, count_ended
from ..study.stage import Entry
from . import confirming, showing, signals
from .console import ERR, OUT, say, say_pairs
from .json_lines import JsonLines
from .live_view import LiveView
from .options import at_storage
from .plain_view import PlainView
from .planning import plan_lines
from .search_log import SearchLog


class _PlanFirst:
    """An observer that shows the plan before anything else is said."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def on_event(self, event: Event) -> None:
        """Print the plan where the run begins."""
        if isinstance(event, StudyStarted):
            print_plan(ERR, self._plan)


def watch(stop: StopSignal, *, as_json: bool) -> Watch:
    """Return how a run is shown on the terminal, logged and asked to end by signals."""

    @contextlib.contextmanager
    def before_the_users_eyes(begun: Begun) -> Iterator[Sequence[Observer]]:
        # Lines of JSON and a table that is redrawn do not go together, in one terminal or in two streams.
        live = ERR.is_terminal and not os.environ.get("TUNE_PLAIN") and not as_json
        view = LiveView(ERR) if live else PlainView(ERR)
        file = begun.store.artifacts / study_files.LOGS / "search.log"
        step = step_words(begun.study, passed_over(begun.store, begun.study))
        if step is not None:
            ERR.print(Text(step), soft_wrap=True)
        with (
            resumable(begun.study.name, at_storage(begun.storage)),
            contextlib.closing(SearchLog(file, progress=not live)) as log,
            signals.stop_on_signals(stop),
            view,
        ):
            first = [] if begun.plan is None else [_PlanFirst(begun.plan)]
            yield (*first, log, view, *([JsonLines()] if as_json else []))

    return before_the_users_eyes


def step_words(study: StudyRecord, ahead: Entry | None = None) -> str | None:
    """Say that a step above a search begins, whose trials are numbered anew; None of other studies.

    ``ahead`` is what the best trial below is, where that does not go up.
    """
    stage = study.config.stage
    if stage is None or stage.kind != "longer":
        return None
    trials = ", ".join(entry.origin for entry in stage.entries)
    noun, verb = ("trial", "goes") if len(stage.entries) == 1 else ("trials", "go")
    length = counted(study.facts.budget.examples, "example")
    why = "" if ahead is None else f"; at {ahead.rate:g} of its learning rate it is ahead by too little"
    return f"step {study.name}: {noun} {trials} of {stage.parent} {verb} on to {length}{why}"


def passed_over(store: Store, study: StudyRecord) -> Entry | None:
    """Return what the best trial of the step below is, where it is passed over for its own rate."""
    stage = study.config.stage
    if stage is None or stage.kind != "longer" or not store.holds(stage.parent):
        return None
    below = store.study(stage.parent)
    best = best_trial(store.trials(below.id))
    if below.config.stage is None or best is None or best.number in {one.trial for one in stage.entries}:
        return None
    return below.config.stage.entries[best.number]


def untaken_words(search: StudyRecord, reached: StudyRecord) -> str | None:
    """Say that steps were left out that a search was to be followed by; None where there were none.

    ``reached`` is the highest step that was taken, the search itself where none was.
    """
    ladder = search.config.ladder
    if ladder is None or not ladder.steps or reached.facts.budget.examples >= ladder.final:
        return None
    given = "examples" if ladder.hours is None else "time"
    if reached.id == search.id:
        what = "to a greater length"
    else:
        what = f"to the {counted(ladder.final, 'example')} that were planned"
    return (
        f"No trial went on {what}: what is left of the {given} would not pay for a step, or no trial is "
        "complete."
    )


def print_plan(console: Console, plan: Plan) -> None:
    """Print a plan, without the rendered example."""
    say_pairs(console, plan_lines(plan.values()))


def print_example(out: Console, plan: Plan) -> None:
    """Print a training example as the model reads it."""
    data = plan.facts.data
    out.print()
    say(out, Text("one training example; the loss is taken between ⟦ and ⟧:", style="bold"))
    out.print(Text(data.rendered), soft_wrap=True)
    if data.rendered_cut:
        say(out, Text(f"cut to length: {data.rendered_cut}", style="dim"))


def say_preparing() -> None:
    """Tell whoever waits at a terminal; a program that reads an error finds one line."""
    if ERR.is_terminal:
        ERR.print("preparing model and data …", style="dim")


@contextlib.contextmanager
def resumable(study: str | None, at: str) -> Iterator[None]:
    """Name the command that goes on, where Ctrl-C comes before the search listens for it."""
    try:
        yield
    except KeyboardInterrupt:
        name = f" {study}" if study else ""
        ERR.print(Text(f"tune: interrupted; go on with: tune resume{name}{at}"), soft_wrap=True)
        sys.exit(130)


def say_stopped(done: Finished) -> bool:
    """Say so where a run was interrupted or its time was up, and return it; exit 130 after Ctrl-C."""
    at, name, ended = at_storage(done.storage), done.study, done.ended
    count = count_ended(ended.counts)
    if ended.why in ("interrupted", "timeout"):
        why = "interrupted" if ended.why == "interrupted" else "the time is up"
        ERR.print(Text(f"{why}: {have_ended(count, done.trials)}, nothing is lost"))
        ERR.print(Text(f"go on with: tune resume {name}{at}"), soft_wrap=True)
        if ended.why == "interrupted":
            sys.exit(130)
        return True
    return False


def say_ended(done: Finished, storage: str, *, as_json: bool) -> None:
    """Say how a search ended and what to do next; exit 130 where it was interrupted."""
    at, name, ended = at_storage(done.storage), done.study, done.ended
    if say_stopped(done):
        return
    from ..app.climbing import came_from, root_of
    from ..reports.confirmation import confirmation
    from ..reports.load import load_view
    from ..reports.verdict import verdict
    from ..study.ranking import best_trial

    words = ", ".join(f"{show_count(count)} {state}" for state, count in ended.counts.items() if count)
    ERR.print(Text(f"done: {words}, in {show_seconds(ended.seconds)}"))
    with Store.open(storage, mode="read") as store:
        view = load_view(store, name)
        best = best_trial(view.trials)
        origin = (name, None) if best is None else came_from(store, view.study, best.number)
        untaken = untaken_words(root_of(store, view.study), view.study)
    facts = [confirmation(one) for one in view.confirmations if one.study.id == view.study.id]
    if facts:
        confirming.print_confirmation(ERR if as_json else OUT, facts[0])
        say(ERR, Text(f"next: tune confirm {name}{at}, which opens the test set, once", style="dim"))
        return
    found = verdict(view)
    showing.print_verdict(ERR if as_json else OUT, found)
    climbed = origin[0] != name
    if untaken is not None:
        say(ERR if as_json else OUT, Text(untaken))
    stage = view.study.config.stage
    if climbed and stage is not None and origin[0] != stage.parent:
        # The verdict names the step below.
        words = f"It came up from trial {origin[1]} of {origin[0]}, the search."
        say(ERR if as_json else OUT, Text(words))
    lines = [f"next: tune report {name}{at} -o report.html"]
    if found.number is not None and found.trained is None and not climbed:
        lines.append(f"      tune confirm {name}{at}")
        if untaken is not None:
            lines.append(f"      tune train {name}{at}")
    if found.number is not None and not found.worse:
        what = "llamafactory -o best.yaml" if found.trained is None and not climbed else "peft -o adapter/"
        lines.append(f"      tune export {name}{at} --format {what}")
    for words in lines:
        ERR.print(Text(words, style="dim"), soft_wrap=True)
