"""A study, from its first trial to its last."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from typing import Any

import optuna
import pytest
from loratune.errors import DataError, StudyBusy, StudyNotFound, WorkerError
from loratune.objectives.testing.clock import ManualClock
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker, Fault
from loratune.search.limits import Limits
from loratune.search.loop import run
from loratune.search.study_record import create
from loratune.spaces.choices import Choices
from loratune.storage.store import Store

PLAN = FakePlan(slots=4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_study_ends_with_exactly_its_trials(bench, count: int) -> None:
    bench.copying = True
    bench.create(16)
    outcome = bench.run(PLAN, count=count)
    assert outcome.why == "complete"
    bench.assert_whole(PLAN, 16)
    assert sum(outcome.counts.values()) == 16
    assert outcome.counts["pruned"] > 0
    values = {t.value: t.number for t in bench.trials() if t.value is not None}
    assert outcome.best == values[min(values)]
    assert outcome.rounds == sum(trial.rounds for trial in bench.trials())


def test_the_first_trial_is_the_default_and_is_never_pruned(bench) -> None:
    # A default far from the best of the surface: it is behind all others at every rung.
    config = bench.config()
    poor = dataclasses.replace(config.first[0], learning_rate=4e-4, lora_rank=2, lora_alpha=1.0)
    bench.create(24, bench.config(first=(poor,)))
    bench.run(FakePlan(slots=8))
    first = bench.trials()[0]
    # It came to the first rung beside five others, of whom some were stopped.
    assert any(trial.state == "pruned" and trial.rounds == 2 for trial in bench.trials()[1:6])
    assert (first.params, first.source, first.state) == (poor, "default", "complete")
    others = [t.value for t in bench.trials()[1:] if t.value is not None]
    assert first.value > max(others)


def test_enqueued_trials_follow_the_default_in_their_order(bench) -> None:
    default = bench.config().first[0]
    wanted = [dataclasses.replace(default, learning_rate=rate) for rate in (2e-3, 3e-3)]
    bench.create(8, bench.config(first=(default, *wanted, default)))
    bench.run(PLAN)
    trials = bench.trials()
    assert [trial.source for trial in trials[:4]] == ["default", "enqueued", "enqueued", "startup"]
    assert [trial.params for trial in trials[:3]] == [default, *wanted]


def test_a_study_smaller_than_its_enqueued_trials_takes_the_first(bench) -> None:
    default = bench.config().first[0]
    more = tuple(dataclasses.replace(default, learning_rate=rate) for rate in (2e-3, 3e-3))
    bench.create(2, bench.config(first=(default, *more)))
    assert bench.run(PLAN).why == "complete"
    assert [trial.params for trial in bench.trials()] == [default, more[0]]


@pytest.mark.parametrize("trials", [1, 2, 3])
def test_the_smallest_studies_end_too(bench, trials: int) -> None:
    bench.create(trials)
    assert bench.run(PLAN, count=2).why == "complete"
    bench.assert_whole(PLAN, trials)


def test_no_more_than_a_quarter_of_the_trials_is_in_flight(bench) -> None:
    bench.create(12)
    bench.run(FakePlan(slots=8), count=2)
    assert max(snapshot.counts["running"] for snapshot in bench.onlooker.progress) == 3


def test_a_low_limit_feeds_all_workers(bench) -> None:
    bench.create(16)
    fleet = FakeFleet(FakePlan(slots=8, round_seconds=0.02))
    bench.run(fleet=fleet, count=2)
    packs = dict.fromkeys((0, 1), 0)
    for index, call, trials in fleet.calls:
        if call == "start":
            packs[index] = max(packs[index], len(trials))
    assert packs == {0: 2, 1: 2}


def test_the_last_trials_are_shared_with_a_worker_that_has_none(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=8, clock=clock, round_seconds=lambda index, inside: 9.0 if index == 0 else 1.0)
    bench.create(9, bench.config(pruner="none"))
    fleet = FakeFleet(plan)
    prepared = [(worker, worker.prepare(bench.config().objective)) for worker in fleet.workers(2)]
    bench.run(fleet=fleet, count=2, prepared=prepared, clock=clock.now)
    by_worker = {
        worker: {t for index, call, ts in fleet.calls if (index, call) == (worker, "add") for t in ts}
        for worker in (0, 1)
    }
    assert by_worker[0] & by_worker[1]
    assert not bench.events("worker")
    bench.assert_whole(plan, 9)


def test_a_diverged_trial_keeps_its_reason(bench) -> None:
    plan = FakePlan(slots=4, faults=(Fault(kind="diverge", trial=2, round=3),))
    bench.create(8, bench.config(pruner="none"))
    bench.run(plan)
    trial = bench.trials()[2]
    assert (trial.state, trial.rounds, trial.value, trial.checkpoint) == ("diverged", 3, None, None)
    assert "became NaN at example" in trial.reason
    assert bench.curves()[2][2] == (None, None)


def test_only_the_best_adapters_stay(bench) -> None:
    bench.create(12, bench.config(pruner="none", keep_adapters=2))
    bench.run(PLAN)
    ranked = sorted((t.value, t.number) for t in bench.trials() if t.value is not None)
    assert {t.number for t in bench.trials() if t.adapter} == {number for _, number in ranked[:2]}
    with bench.store as store:
        folder = store.study_dir(1)
    assert len(list(folder.rglob("*.safetensors"))) == 2


def test_a_duplicate_takes_no_number_and_is_remembered(bench) -> None:
    few = bench.config().space.replace(
        Choices(name="learning_rate", choices=(1e-3, 1e-2, 3e-2)),
        Choices(name="batch_size", choices=(8,)),
        Choices(name="lora_rank", choices=(4, 16)),
        Choices(name="lora_alpha_ratio", choices=(2.0,)),
        Choices(name="warmup_ratio", choices=(0.1,)),
    )
    bench.create(30, bench.config(space=few))
    outcome = bench.run(PLAN)
    assert outcome.why == "exhausted"
    trials = bench.trials()
    assert len({trial.params for trial in trials}) == len(trials) == 6
    duplicates = bench.events("duplicate")
    assert sum(event["number"] == 6 for event in duplicates) == 20
    assert all(trials[event["twin"]].params.to_dict() == event["params"] for event in duplicates)
    assert any("exhausted" in message for message in bench.onlooker.sentences)
    # Resumed, it says so at once and asks nobody again.
    assert bench.run(PLAN).why == "exhausted"
    assert len(bench.events("duplicate")) == len(duplicates)


def test_a_grid_that_is_tried_whole_ends_the_study(bench) -> None:
    few = bench.config().space.replace(
        Choices(name="learning_rate", choices=(1e-3, 1e-2)),
        Choices(name="batch_size", choices=(8,)),
        Choices(name="lora_rank", choices=(4, 16)),
        Choices(name="lora_alpha_ratio", choices=(2.0,)),
    )
    bench.create(30, bench.config(space=few, sampler="grid:points=3", pruner="none"))
    assert bench.run(PLAN).why == "exhausted"
    # The default lies on the grid and is not tried again; the range of the warm-up has three points.
    assert len({trial.params for trial in bench.trials()}) == len(bench.trials()) == 2 * 2 * 3
    assert not bench.events("duplicate")
    assert (
        "sampler grid: every point of it was tried; the study ends with 12 trials" in bench.onlooker.sentences
    )
    assert bench.run(PLAN).why == "exhausted"


@pytest.mark.parametrize("pruner", ["halving:first=1", "median:complete=2", "hyperband:peers=2"])
def test_each_pruner_stops_trials_and_what_is_left_is_better(bench, pruner: str) -> None:
    bench.create(40, bench.config(pruner=pruner))
    bench.run(FakePlan(slots=4))
    stopped = [trial for trial in bench.trials() if trial.state == "pruned"]
    assert stopped
    assert {trial.rounds for trial in stopped} <= {1, 2, 4}
    bench.assert_whole(FakePlan(slots=4), 40)


def test_one_worker_repeats_the_sequence_of_trials(new_bench) -> None:
    found = []
    for _ in range(2):
        bench = new_bench()
        bench.create(14)
        bench.run(PLAN)
        found.append(bench.sequence())
    assert found[0] == found[1]
    assert {source for _, _, source, *_ in found[0]} == {"default", "startup", "tpe"}
    other = new_bench()
    other.create(14, other.config(seed=1))
    other.run(PLAN)
    assert other.sequence()[1:] != found[0][1:]


class LateWorker:
    """A worker whose news arrive late, by a whim of its own."""

    def __init__(self, worker: FakeWorker, whim: random.Random) -> None:
        self._worker, self._whim = worker, whim

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker, name)

    def poll(self, timeout: float) -> Any:
        return None if self._whim.random() < 0.7 else self._worker.poll(timeout)


@pytest.mark.parametrize("deterministic", [True, False])
def test_several_workers_repeat_the_sequence_where_they_wait_for_each_other(new_bench, deterministic) -> None:
    found = []
    for whim in map(random.Random, range(4)):
        bench = new_bench()
        bench.create(24)
        fleet = FakeFleet(PLAN)
        bench.run(
            fleet=lambda index, fleet=fleet, whim=whim: LateWorker(fleet(index), whim),
            count=3,
            deterministic=deterministic,
        )
        found.append(bench.sequence())
    assert all(sequence == found[0] for sequence in found[1:]) == deterministic


def test_a_study_can_be_extended(bench) -> None:
    bench.create(6)
    bench.run(PLAN)
    with Store.open(str(bench.path), mode="write") as store:
        longer = dataclasses.replace(store.study("a"), trials=10)
        assert run(store, longer, factory=FakeFleet(PLAN)).why == "complete"
        assert store.study("a").trials == 10
    bench.assert_whole(PLAN, 10)


def test_a_finished_study_has_nothing_left_to_do(bench) -> None:
    bench.create(4)
    bench.run(PLAN)
    before = bench.sequence()
    fleet = FakeFleet(PLAN)
    outcome = bench.run(fleet=fleet)
    assert (outcome.why, outcome.rounds) == ("complete", 0)
    assert bench.sequence() == before
    assert not fleet.made, "no worker loads a model for nothing"


def test_a_second_owner_is_refused_and_its_workers_are_closed(bench) -> None:
    bench.create(4)
    fleet = FakeFleet(PLAN)
    worker = fleet(0)
    facts = worker.prepare(bench.config().objective)
    with (
        Store.open(str(bench.path), mode="write") as owner,
        Store.open(str(bench.path), mode="write") as other,
    ):
        study = owner.study("a")
        owner.acquire(study.id)
        with pytest.raises(StudyBusy):
            run(other, study, factory=fleet, prepared=[(worker, facts)])
    assert worker.closed


def test_changed_data_is_refused(bench) -> None:
    bench.create(4)
    with Store.open(str(bench.path), mode="write") as store:
        study = store.study("a")
        objective = bench.config().objective
        changed = dataclasses.replace(objective, data=dataclasses.replace(objective.data, train="other"))
        with pytest.raises(DataError, match="have changed since"):
            run(store, study, factory=FakeFleet(PLAN), objective=changed)
    assert bench.trials() == ()


def test_another_build_is_told_once_and_recorded(bench) -> None:
    bench.create(4)
    fleet = FakeFleet(PLAN)
    prepared = []
    for index in range(2):
        worker = fleet(index)
        facts = worker.prepare(bench.config().objective)
        prepared.append((worker, dataclasses.replace(facts, environment={**facts.environment, "torch": "9"})))
    bench.run(fleet=fleet, count=2, prepared=prepared)
    (event,) = bench.events("environment")
    assert event["changes"] == ["torch was none, now 9"]
    assert sum("made elsewhere" in message for message in bench.onlooker.sentences) == 1


def test_where_optuna_has_a_study_of_the_users_with_its_name_is_told_once(bench) -> None:
    bench.copying = True
    bench.create(4)
    theirs = optuna.storages.RDBStorage(f"sqlite:///{bench.path}")
    optuna.delete_study(study_name="a", storage=theirs)
    optuna.create_study(study_name="a", storage=theirs).add_trial(optuna.create_trial(value=0.5))
    bench.run(count=1)
    assert [message for message in bench.onlooker.sentences if "Optuna" in message] == [
        "Optuna's tables have a study 'a' that is not of loratune and is left as it is; "
        "this one is 'a (loratune)' there"
    ]
    assert [t.value for t in optuna.load_study(study_name="a", storage=theirs).trials] == [0.5]
    assert len(optuna.load_study(study_name="a (loratune)", storage=theirs).trials) == 4
    theirs.remove_session()
    theirs.engine.dispose()


def test_an_error_of_the_data_ends_the_search(bench) -> None:
    bench.create(4)
    with pytest.raises(DataError, match="is gone"):
        bench.run(FakePlan(prepare_error=DataError("data.jsonl: is gone")))


def test_workers_that_cannot_start_end_the_search_after_three_tries(bench) -> None:
    bench.create(4)
    fleet = FakeFleet(FakePlan(prepare_error=WorkerError("worker 0 cannot start")))
    with pytest.raises(WorkerError, match="no worker can be started"):
        bench.run(fleet=fleet)
    assert len(fleet.made) == 3
    assert all(worker.closed for worker in fleet.made)


def test_snapshots_say_where_the_search_stands(bench) -> None:
    clock = ManualClock()
    bench.create(8)
    bench.run(FakePlan(slots=4, round_seconds=10.0, progress=3, clock=clock), clock=clock.now)
    shots = bench.onlooker.progress
    middle = next(shot for shot in shots if shot.best is not None and shot.counts["running"])
    assert middle.study == "a"
    assert middle.trials == 8
    assert middle.varied == ("learning_rate", "batch_size", "lora_rank", "lora_alpha", "warmup_ratio")
    slot = middle.running[0]
    assert slot.worker == 0
    assert 0 <= slot.examples <= slot.examples_total
    assert middle.trials_per_hour > 0
    assert middle.seconds_left > 0
    assert any(slot.state == "train" and slot.train_loss for shot in shots for slot in shot.running)
    assert any(slot.eval_loss for shot in shots for slot in shot.running)
    last = shots[-1]
    assert (last.finished, last.running, last.seconds_left) == (8, (), 0.0)
    assert math.isclose(last.best.value, min(t.value for t in bench.trials() if t.value is not None))


def test_orchestration_is_measured(bench) -> None:
    bench.create(4)
    outcome = bench.run(FakePlan(slots=4, round_seconds=0.05))
    assert 0 < outcome.orchestration_seconds < outcome.seconds
    assert outcome.seconds > 0.05 * max(t.rounds for t in bench.trials())


def test_a_study_made_under_no_such_name_is_not_found(bench) -> None:
    bench.create(4)
    with pytest.raises(StudyNotFound):
        bench.run(PLAN, name="b")
    with Store.open(str(bench.path), mode="create") as store:
        config = bench.config()
        assert create(store, name="b", config=config, facts=bench.facts(config), trials=4).name == "b"


def test_patience_can_be_set(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=2, clock=clock, faults=(Fault(kind="hang", nth=2),))
    bench.create(4)
    bench.run(plan, clock=clock.now, limits=Limits(silence=30.0))
    assert 30 < clock.now() < 40


def test_where_a_search_stands_is_told_while_its_workers_say_nothing(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=2, clock=clock, round_seconds=100.0, progress=0)
    bench.create(1)
    bench.run(plan, clock=clock.now)
    at = [progress.elapsed for progress in bench.onlooker.progress]
    assert clock.now() >= 8 * 100
    assert max(later - earlier for earlier, later in itertools.pairwise(at)) < 7


def test_a_worker_that_cannot_even_be_made_is_given_up_after_three_tries(bench) -> None:
    tries: list[int] = []

    class Refusing(FakeFleet):
        def __call__(self, index: int) -> FakeWorker:
            tries.append(index)
            if index == 1:
                raise WorkerError("worker 1 cannot start: no such program")
            return super().__call__(index)

    bench.create(4)
    assert bench.run(fleet=Refusing(PLAN), count=2).why == "complete"
    assert tries.count(1) == 3
    assert any("given up" in message for message in bench.onlooker.sentences)
