"""A search before the user's eyes: the view that fits the terminal, the log, and how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from rich.text import Text

from ..app import preparing, running
from ..reports.format import counted, have_ended
from ..search.loop import Outcome
from ..storage import study_files
from ..storage.store import Store
from ..study.records import StudyRecord
from . import console, process, showing
from .console import ERR, OUT
from .options import at_storage


def run(
    store: Store,
    study: StudyRecord,
    *,
    prepared: preparing.Prepared | None = None,
    workers: int | None,
    slots: int | None,
    timeout: float | None,
    take_over: bool,
    deterministic: bool,
) -> None:
    """Run a study before the user's eyes and say how it ended."""
    log = console.Log(store.artifacts / study_files.LOGS / "search.log")
    log.write(f"study {study.name}: {counted(study.trials, 'trial')}")

    live = ERR.is_terminal and not os.environ.get("TUNE_PLAIN")
    view = console.LiveView(ERR, log) if live else console.PlainView(ERR, log)
    try:
        with process.stop_on_signals() as stop, view:
            outcome = running.run_study(
                store,
                study,
                prepared=prepared,
                workers=workers,
                slots=slots,
                observer=view,
                stop=stop,
                timeout=timeout,
                take_over=take_over,
                deterministic=deterministic,
            )
        log.write(f"{outcome.why} after {outcome.seconds:.1f} s")
    finally:
        log.close()
    _say_outcome(store, study, outcome)


@contextlib.contextmanager
def resumable(study: str | None, at: str) -> Iterator[None]:
    """Name the command that goes on, where Ctrl-C comes before the search listens for it."""
    try:
        yield
    except KeyboardInterrupt:
        name = f" {study}" if study else ""
        ERR.print(Text(f"tune: interrupted; go on with: tune resume{name}{at}"), soft_wrap=True)
        sys.exit(130)


def _say_outcome(store: Store, study: StudyRecord, outcome: Outcome) -> None:
    """Say how a search ended and what to do next; exit 130 where it was interrupted."""
    at = at_storage(store.url)
    name = study.name
    ended = sum(count for state, count in outcome.counts.items() if state != "running")
    if outcome.why in ("interrupted", "timeout"):
        why = "interrupted" if outcome.why == "interrupted" else "the time is up"
        ERR.print(Text(f"{why}: {have_ended(ended, study.trials)}, nothing is lost"))
        ERR.print(Text(f"go on with: tune resume {name}{at}"), soft_wrap=True)
        if outcome.why == "interrupted":
            sys.exit(130)
        return
    from ..reports.load import load_view
    from ..reports.verdict import verdict

    words = ", ".join(f"{count} {state}" for state, count in outcome.counts.items() if count)
    ERR.print(Text(f"done: {words}, in {console.clock(outcome.seconds)}"))
    found = verdict(load_view(store, name))
    showing.print_verdict(OUT, found)
    lines = [f"next: tune report {name}{at} -o report.html"]
    if found.number is not None and not found.worse:
        lines.append(f"      tune export {name}{at} --format llamafactory -o train.yaml")
    for words in lines:
        ERR.print(Text(words, style="dim"), soft_wrap=True)
