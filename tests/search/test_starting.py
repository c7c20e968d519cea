"""How several workers come up: all at once, and what the first one finds is not looked for again."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from loratune.errors import ModelError, OutOfMemory, WorkerError
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker, Fault
from loratune.search.limits import Limits


class Fleet(FakeFleet):
    """Workers whose first one looks only once all of them are there; some may refuse to come up."""

    def __init__(self, count, plan=None, refuses=None):
        super().__init__(plan)
        self.count = count
        self.all_made = threading.Event()
        self.refuses = refuses or {}

    def __call__(self, index):
        worker = Worker(index, fleet=self)
        if len(self.made) == self.count:
            self.all_made.set()
        return worker


class Worker(FakeWorker):
    """Looks at model and data when all workers have been made."""

    def prepare(self, config):
        assert self.fleet.all_made.wait(60), "the others were not started beside it"
        errors = self.fleet.refuses.get(self.index, [])
        if errors:
            self.config = config
            raise errors.pop(0)
        return super().prepare(config)


def told(fleet):
    """Return by worker what each of its lives was told that another had found."""
    return [(worker.index, worker.config.found is not None) for worker in fleet.made]


def test_all_start_at_once_and_the_others_are_told_what_the_first_found(bench):
    bench.create(24)
    fleet = Fleet(3)
    bench.run(fleet=fleet, count=3)
    assert told(fleet) == [(0, False), (1, True), (2, True)]
    assert fleet.made[1].config.found == fleet.made[0].facts
    bench.assert_whole(fleet.plan, 24)


def test_a_worker_that_is_started_again_is_told_too(bench):
    bench.create(12)
    fleet = Fleet(2, FakePlan(faults=(Fault(kind="die", worker=0, nth=2),)))
    bench.run(fleet=fleet, count=2)
    assert told(fleet) == [(0, False), (1, True), (0, True)]
    bench.assert_whole(fleet.plan, 12)


def test_a_resumed_study_is_looked_at_anew(bench):
    bench.create(12)
    assert bench.run(fleet=Fleet(2), count=2, crash=(20, True)) is None
    fleet = Fleet(2)
    bench.run(fleet=fleet, count=2)
    assert told(fleet) == [(0, False), (1, True)]


def test_where_the_first_never_comes_up_the_next_one_looks(bench):
    bench.create(12)
    fleet = Fleet(2, refuses={0: [WorkerError("no"), WorkerError("no")]})
    bench.run(fleet=fleet, count=2, limits=Limits(starts=2))
    assert told(fleet) == [(0, False), (1, False), (0, False)]
    bench.assert_whole(fleet.plan, 12)


def test_memory_that_runs_out_in_the_second_alone_lowers_what_it_trains_at_once(bench):
    bench.create(12)
    fleet = Fleet(2, refuses={1: [OutOfMemory("worker 1: memory ran out")]})
    bench.run(fleet=fleet, count=2)
    assert [(worker.index, worker.config.slots) for worker in fleet.made] == [(0, 4), (1, 4), (1, 2)]
    bench.assert_whole(fleet.plan, 12)


def test_what_the_first_refuses_ends_the_search_and_all_that_wait(bench):
    bench.create(12)
    fleet = Fleet(3, refuses={0: [ModelError("the model is gone")]})
    with pytest.raises(ModelError, match="the model is gone"):
        bench.run(fleet=fleet, count=3)
    assert [worker.closed for worker in fleet.made] == [True, True, True]
    assert [worker.config for worker in fleet.made[1:]] == [None, None]


def test_what_was_found_is_no_part_of_the_study(bench):
    study = bench.create(4)
    found = dataclasses.replace(study.config.objective, found=study.facts)
    config = dataclasses.replace(study.config, objective=found)
    assert config.to_json() == study.config.to_json()
