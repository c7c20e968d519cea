"""A worker's state: moved by its own methods, by nobody else."""

import ast
import types
from pathlib import Path

import pytest
from loratune.objectives.base import Done
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.search.bisect import Suspicion
from loratune.search.limits import Limits
from loratune.search.passes import Passes, beginning
from loratune.search.worker_state import WorkerState

SEARCH = Path(__file__).parents[2] / "search"


@pytest.fixture
def worker(bench):
    return WorkerState(0, FakeFleet(FakePlan()), bench.config().objective, Limits(), 4)


def test_trials_come_and_go(worker):
    worker.assign([3, 5])
    worker.take(8)
    worker.leave(5)
    worker.leave(5)
    assert worker.members == (3, 8)
    assert worker.pack() == (3, 8)
    assert worker.pack({3}) == (8,)


def test_states_of_trials_that_another_worker_trains_are_forgotten_unless_they_are_trained_here(
    bench, worker
):
    state = FakeFleet(FakePlan())(0)
    facts = state.prepare(bench.config().objective)
    worker.seat_worker(state, facts)
    first = bench.config().first[0]
    records = {
        number: types.SimpleNamespace(params=first, seed=0, attempt=0, rounds=0) for number in (1, 2, 3)
    }
    worker.assign([1, 2, 3])
    worker.begin_round((1, 2, 3), records, lambda number: None, bench.folder / "c", 0.0)
    worker.forget({1, 9})
    assert worker.inside == (1, 2, 3)
    while not isinstance(worker.poll(1.0, lambda: 0.0), Done):
        pass
    worker.leave(1)
    assert worker.inside == (1, 2, 3)
    worker.forget({1, 9})
    assert worker.inside == (2, 3)
    assert set(state.slots) == {2, 3}


def test_one_that_is_given_up_has_no_trials_and_suspects_none(worker):
    worker.assign([1, 2])
    suspecting = Passes(slots=4, limit=2, suspicion=Suspicion(groups=((1,), (2,)), deaths=1), halved=(1, 2))
    worker.go_on(suspecting, failed_starts=3)
    worker.give_up()
    assert worker.given_up
    assert worker.members == ()
    assert worker.passes == Passes(slots=4, limit=2)
    assert worker.failed_starts == 3


@pytest.mark.parametrize(
    "name", ["passes", "members", "inside", "training", "given_up", "failed_starts", "last", "begun_at"]
)
def test_nobody_else_sets_what_it_is(worker, name):
    with pytest.raises(AttributeError):
        setattr(worker, name, None)


def test_it_begins_with_all_of_its_slots_and_nobody(worker):
    assert worker.passes == beginning(4)
    assert (worker.members, worker.inside, worker.training, worker.ready) == ((), (), False, False)


@pytest.mark.parametrize("path", sorted(SEARCH.glob("*.py")), ids=lambda path: path.stem)
def test_no_part_of_the_search_writes_into_another(path):
    """Only ``self.name = …`` stands anywhere: a part's state is changed by its own methods."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
        inner = [one for target in targets for one in ast.walk(target)]
        for one in inner:
            if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
                assert isinstance(one.value, ast.Name), ast.unparse(node)
                assert one.value.id == "self", ast.unparse(node)


@pytest.mark.parametrize("path", sorted(SEARCH.glob("*.py")), ids=lambda path: path.stem)
def test_no_flag_of_the_search_is_set_by_two_methods(path):
    """Beside its beginning: what is true or false is so for one reason, in one place."""
    for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(found, ast.ClassDef):
            continue
        setters: dict[str, set[str]] = {}
        for method in found.body:
            if not isinstance(method, ast.FunctionDef) or method.name == "__init__":
                continue
            for node in ast.walk(method):
                if isinstance(node, ast.Assign) and ast.unparse(node.value) in ("True", "False"):
                    for target in node.targets:
                        setters.setdefault(ast.unparse(target), set()).add(method.name)
        # A worker trains from the beginning of a round to its end: that is its state, and no flag.
        setters.pop("self._training", None)
        assert all(len(methods) == 1 for methods in setters.values()), setters
