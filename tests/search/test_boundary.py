"""The boundary: who is judged with whom, whatever became of the workers meanwhile."""

import dataclasses

import pytest
from loratune.objectives.base import Done
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.search.boundary import Boundary
from loratune.search.limits import Limits
from loratune.search.progress import Announcer
from loratune.search.study_state import StudyState
from loratune.search.worker_state import WorkerState
from loratune.storage import study_files
from loratune.storage.store import Store


@pytest.fixture
def state(bench):
    """A study with trials 0 and 1 running, neither of them trained yet."""
    bench.create(4)
    with Store.open(str(bench.path), mode="write") as store:
        study = store.study("a")
        store.acquire(study.id)
        state = StudyState(store, study)
        first = state.config.first[0]
        state.add(first, "default")
        state.add(dataclasses.replace(first, learning_rate=2 * first.learning_rate), "startup")
        yield state


@pytest.fixture
def workers(state):
    """Two workers that train one trial each."""
    found = []
    fleet = FakeFleet(FakePlan())
    for index in range(2):
        worker = WorkerState(index, fleet, state.config.objective, Limits(), 4)
        fake = fleet(index)
        worker.seat_worker(fake, fake.prepare(state.config.objective))
        worker.assign([index])
        found.append(worker)
    return found


def train(state, worker, boundary):
    """Let a worker end its round."""
    folder = state.folder / study_files.CHECKPOINTS
    worker.begin_round(worker.members, state.trials, state.checkpoint, folder, 0.0)
    event = None
    while not isinstance(event, Done):
        event = worker.poll(1.0, lambda: 0.0)
    boundary.end_pass(worker, event)


def rounds(state):
    return [state.trials[number].rounds for number in (0, 1)]


def test_all_that_are_judged_together_are_recorded_also_those_whose_worker_is_given_up(state, workers):
    boundary = Boundary(state, Announcer(state, workers, (), lambda: 0.0), together=True)
    train(state, workers[1], boundary)
    workers[1].give_up()
    train(state, workers[0], boundary)
    assert boundary.end_whole([workers[0]])
    assert rounds(state) == [1, 1]
    assert boundary.at_boundary


def test_where_each_worker_has_its_own_round_it_is_recorded_without_the_others(state, workers):
    boundary = Boundary(state, Announcer(state, workers, (), lambda: 0.0), together=False)
    train(state, workers[1], boundary)
    assert boundary.end_whole(workers)
    assert rounds(state) == [0, 1]
    assert boundary.at_boundary


def test_trials_that_are_judged_together_wait_for_each_other(state, workers):
    boundary = Boundary(state, Announcer(state, workers, (), lambda: 0.0), together=True)
    train(state, workers[1], boundary)
    assert not boundary.end_whole(workers)
    assert rounds(state) == [0, 0]
    assert 1 in boundary.reached
    train(state, workers[0], boundary)
    assert boundary.end_whole(workers)
    assert rounds(state) == [1, 1]
