"""Who is trained where: what a worker still holds of a trial is of no use once another has trained it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from loratune.objectives.base import Done
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.search.boundary import Boundary
from loratune.search.limits import Limits
from loratune.search.placement import Placement
from loratune.search.progress import Announcer
from loratune.search.study_state import StudyState
from loratune.search.trial_source import TrialSource
from loratune.search.worker_state import WorkerState
from loratune.storage import study_files
from loratune.storage.store import Store

TRIALS = 6


class Search:
    """A study of six trials that wait at their rungs, two workers of one place each, and nobody's loop."""

    def __init__(self, store: Store) -> None:
        study = store.study("a")
        store.acquire(study.id)
        self.state = StudyState(store, study)
        first = self.state.config.first[0]
        for number in range(TRIALS):
            rate = first.learning_rate * (1 + number / 7)
            source = "startup" if number else "default"
            self.state.add(dataclasses.replace(first, learning_rate=rate), source)
        fleet = FakeFleet(FakePlan(slots=1))
        self.workers = []
        for index in range(2):
            worker = WorkerState(index, fleet, self.state.config.objective, Limits(), 1)
            fake = fleet(index)
            worker.seat_worker(fake, fake.prepare(self.state.config.objective))
            self.workers.append(worker)
        announcer = Announcer(self.state, self.workers, (), lambda: 0.0)
        self.boundary = Boundary(self.state, announcer, together=False)
        source = TrialSource(self.state, announcer)
        self.placement = Placement(self.state, source, self.boundary, self.workers)

    def train(self, worker: int, trial: int) -> None:
        """Let a worker train a trial for a round, and record that."""
        one, state = self.workers[worker], self.state
        one.assign([trial])
        one.begin_round((trial,), state.trials, state.checkpoint, state.folder / study_files.CHECKPOINTS, 0.0)
        event = None
        while not isinstance(event, Done):
            event = one.poll(1.0, lambda: 0.0)
        self.boundary.end_pass(one, event)
        assert self.boundary.end_whole(self.workers)


@pytest.fixture
def search(bench: Any) -> Any:
    bench.create(TRIALS, bench.config(pruner="promote"))
    with Store.open(str(bench.path), mode="write") as store:
        yield Search(store)


def test_who_arrives_at_a_rung_gives_up_its_place_and_keeps_its_state_there(search: Search) -> None:
    search.train(1, 3)
    assert search.state.waiting() == {3}
    assert search.workers[1].members == ()
    assert search.workers[1].inside == (3,)
    search.train(1, 0)
    assert search.state.waiting() == {3}
    assert search.workers[1].members == (0,), "the default never waits"


def test_what_is_left_of_a_trial_is_dropped_where_another_worker_takes_it(search: Search) -> None:
    search.train(1, 5)
    search.state.give_place(5)
    search.workers[0].take(5)
    search.placement.place()
    assert search.workers[0].members == (5,)
    assert search.workers[1].inside == ()
    # Else it would come back to a state of before.
    search.train(0, 5)
    search.train(1, 5)
    assert search.state.trials[5].rounds == 3


def test_a_free_place_goes_to_who_has_earned_it_before_any_that_has_not_begun(search: Search) -> None:
    for number in range(1, TRIALS - 1):
        search.train(1, number)
    losses = {number: search.state.eval_loss(number) for number in range(1, TRIALS - 1)}
    best = min(losses, key=lambda number: losses[number])
    search.workers[0].assign([0])
    search.placement.place()
    # The last one has lost its worker, so to say, and comes first of all.
    assert search.workers[1].members == (5,)
    search.train(1, 5)
    search.placement.place()
    assert search.workers[1].members == (min(best, 5, key=search.state.eval_loss),)
