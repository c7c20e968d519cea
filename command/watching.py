"""A search before the user's eyes: the view that fits the terminal, the log, and how it ended."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from ..app import preparing, running
from ..reports.format import have_ended, show_seconds
from ..storage import study_files
from ..storage.store import Store
from ..study.events import StudyEnded
from ..study.records import StudyRecord
from . import process, showing
from .console import ERR, OUT
from .json_lines import JsonLines
from .live_view import LiveView
from .options import at_storage
from .plain_view import PlainView
from .search_log import Log


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
    as_json: bool = False,
) -> None:
    """Run a study before the user's eyes and say how it ended."""
    # Lines of JSON and a table that is redrawn do not go together, be it in one terminal or in two streams.
    live = ERR.is_terminal and not os.environ.get("TUNE_PLAIN") and not as_json
    view = LiveView(ERR) if live else PlainView(ERR)
    log = Log(store.artifacts / study_files.LOGS / "search.log", progress=not live)
    try:
        with process.stop_on_signals() as stop, view:
            ended = running.run_study(
                store,
                study,
                prepared=prepared,
                workers=workers,
                slots=slots,
                observers=(log, view, *([JsonLines()] if as_json else [])),
                stop=stop,
                timeout=timeout,
                take_over=take_over,
                deterministic=deterministic,
            )
    finally:
        log.close()
    _say_ended(store, study, ended, verdict_to=ERR if as_json else OUT)


@contextlib.contextmanager
def resumable(study: str | None, at: str) -> Iterator[None]:
    """Name the command that goes on, where Ctrl-C comes before the search listens for it."""
    try:
        yield
    except KeyboardInterrupt:
        name = f" {study}" if study else ""
        ERR.print(Text(f"tune: interrupted; go on with: tune resume{name}{at}"), soft_wrap=True)
        sys.exit(130)


def _say_ended(store: Store, study: StudyRecord, ended: StudyEnded, *, verdict_to: Console) -> None:
    """Say how a search ended and what to do next; exit 130 where it was interrupted."""
    at = at_storage(store.url)
    name = study.name
    count = sum(count for state, count in ended.counts.items() if state != "running")
    if ended.why in ("interrupted", "timeout"):
        why = "interrupted" if ended.why == "interrupted" else "the time is up"
        ERR.print(Text(f"{why}: {have_ended(count, study.trials)}, nothing is lost"))
        ERR.print(Text(f"go on with: tune resume {name}{at}"), soft_wrap=True)
        if ended.why == "interrupted":
            sys.exit(130)
        return
    from ..reports.load import load_view
    from ..reports.verdict import verdict

    words = ", ".join(f"{count} {state}" for state, count in ended.counts.items() if count)
    ERR.print(Text(f"done: {words}, in {show_seconds(ended.seconds)}"))
    found = verdict(load_view(store, name))
    showing.print_verdict(verdict_to, found)
    lines = [f"next: tune report {name}{at} -o report.html"]
    if found.number is not None and not found.worse:
        lines.append(f"      tune export {name}{at} --format llamafactory -o train.yaml")
    for words in lines:
        ERR.print(Text(words, style="dim"), soft_wrap=True)
