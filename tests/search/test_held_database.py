"""A database that another program holds is waited for, and one that was lost is written no more."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from loratune.errors import StaleOwner, StorageError
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.search.interrupt import StopSignal
from loratune.search.limits import Limits
from loratune.study import events
from loratune.study.events import Notice, StudyProgress, TrialEnded

TRIALS = 10


PLAN = FakePlan(slots=4)


@contextlib.contextmanager
def locked(path: Path, until: threading.Event) -> Iterator[None]:
    """Let another program hold the database until the event."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")

    def release() -> None:
        until.wait(60)
        connection.execute("ROLLBACK")

    thread = threading.Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        until.set()
        thread.join()
        connection.close()


def test_a_database_that_another_program_holds_is_waited_for(new_bench, undisturbed) -> None:
    """Said in one line, and the search goes on as if nothing had been."""
    bench = new_bench()
    bench.create(TRIALS)
    free, holders = threading.Event(), []
    holder = contextlib.ExitStack()

    class Onlooker(type(bench.onlooker)):
        def on_event(self, event: events.Event) -> None:
            super().on_event(event)
            if isinstance(event, StudyProgress) and event.counts["running"] and not holders:
                holders.append(holder.enter_context(locked(bench.path, free)))
            if isinstance(event, Notice) and event.about == "database":
                free.set()

    bench.onlooker = Onlooker()
    with holder:
        bench.run(PLAN, limits=Limits(lock_news=0.0))
    said = bench.onlooker.sentences
    assert sum("is locked by another program; waiting" in text for text in said) == 1
    assert bench.sequence() == undisturbed(new_bench)


def test_a_search_that_waits_for_a_database_can_be_ended(bench) -> None:
    bench.create(TRIALS)
    stop, free = StopSignal(), threading.Event()
    holder = contextlib.ExitStack()

    class Onlooker:
        def on_event(self, event: events.Event) -> None:
            if isinstance(event, StudyProgress) and event.counts["running"] and not free.is_set():
                free.set()
                holder.enter_context(locked(bench.path, threading.Event()))
            if isinstance(event, Notice) and "waiting for it" in event.text:
                stop.request()
                stop.request()

    bench.onlooker = Onlooker()
    with holder, pytest.raises(StorageError, match="was still locked by another program when the search was"):
        bench.run(PLAN, limits=Limits(lock_news=0.0), stop=stop)
    assert {trial.state for trial in bench.trials()} == {"running"}


def test_a_lost_study_is_written_no_more(bench) -> None:
    """Another process takes the study over between two writes."""
    bench.create(TRIALS)

    class Thief:
        def on_event(self, event: events.Event) -> None:
            if isinstance(event, TrialEnded):
                with sqlite3.connect(bench.path) as connection:
                    connection.execute("UPDATE tune_leases SET token = token + 1")
                connection.close()

    bench.onlooker = Thief()
    fleet = FakeFleet(PLAN)
    with pytest.raises(StaleOwner):
        bench.run(fleet=fleet)
    assert all(worker.closed for worker in fleet.made)
    assert any(trial.state != "running" for trial in bench.trials())
    assert len(bench.trials()) < TRIALS
