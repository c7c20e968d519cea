"""Whatever dies, and whenever: the study ends as if nothing had."""

from __future__ import annotations

import dataclasses
import functools
import sqlite3
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loratune.objectives.base import Event, WorkerFailed
from loratune.objectives.fake import FakeFleet, FakePlan, FakeWorker, Fault, ManualClock
from loratune.search.seat import Limits
from loratune.spaces.errors import StaleOwner, StorageError, WorkerError

TRIALS = 10
PLAN = FakePlan(slots=4)

few = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
    # An example takes a second or two, so shrinking one would take minutes.
    phases=[Phase.explicit, Phase.generate],
)
crashes = st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def undisturbed() -> Any:
    """The sequence of trials of a study that nothing disturbs, made once."""
    return functools.cache(lambda make: _run_undisturbed(make()))


def _run_undisturbed(bench: Any) -> list[tuple[Any, ...]]:
    bench.create(TRIALS)
    bench.run(PLAN)
    found: list[tuple[Any, ...]] = bench.sequence()
    return found


@few
@given(crashes=crashes)
def test_a_coordinator_that_dies_anywhere_resumes_the_same_sequence(
    new_bench, undisturbed, crashes: list[tuple[int, bool]]
) -> None:
    bench = new_bench()
    bench.copying = True
    bench.create(TRIALS)
    for crash in crashes:
        bench.run(PLAN, crash=crash)
    bench.run(PLAN)
    bench.assert_whole(PLAN, TRIALS)
    assert bench.sequence() == undisturbed(new_bench)
    assert not bench.events("started_over"), "a checkpoint was lost"


@few
@given(
    crashes=crashes,
    deaths=st.sets(st.tuples(st.integers(0, 1), st.integers(1, 20)), max_size=6),
    kinds=st.lists(st.sampled_from(["die", "die_after_saving", "out_of_memory"]), min_size=6, max_size=6),
    count=st.integers(1, 2),
)
def test_coordinator_and_workers_may_die_together(
    new_bench,
    crashes: list[tuple[int, bool]],
    deaths: set[tuple[int, int]],
    kinds: list[Any],
    count: int,
) -> None:
    faults = tuple(
        Fault(kind=kind, worker=worker, nth=nth)
        for kind, (worker, nth) in zip(kinds, sorted(deaths), strict=False)
    )
    plan = dataclasses.replace(PLAN, faults=faults)
    bench = new_bench()
    bench.copying = True
    bench.create(TRIALS)
    fleet = FakeFleet(plan)
    for crash in crashes:
        bench.run(fleet=fleet, count=count, crash=crash)
    bench.run(fleet=fleet, count=count)
    bench.assert_whole(plan, TRIALS)
    assert not bench.events("started_over"), "a checkpoint was lost"


def test_a_worker_that_dies_now_and_then_changes_nothing(new_bench, undisturbed) -> None:
    faults = tuple(
        Fault(kind=kind, nth=nth)
        for nth, kind in [(1, "die"), (4, "die_after_saving"), (9, "hang"), (12, "die")]
    )
    clock = ManualClock()
    bench = new_bench()
    bench.create(TRIALS)
    bench.run(dataclasses.replace(PLAN, faults=faults, clock=clock), clock=clock.now)
    assert bench.sequence() == undisturbed(new_bench)
    events = bench.events("worker")
    assert len(events) == 4
    assert "no progress for 1" in events[2]["reason"]
    assert 120 < clock.now() < 140
    assert [trial.attempt for trial in bench.trials()[:4]] == [3, 3, 3, 1]
    bench.assert_whole(PLAN, TRIALS)


def test_a_worker_that_repeats_itself_has_hung(bench) -> None:
    """Signs of life without progress are none."""
    clock = ManualClock()

    class Parrot(FakeWorker):
        def poll(self, timeout: float) -> Event | None:
            clock.sleep(1.0)
            assert clock.now() < 1000, "nobody noticed"
            return self._progress_event(0.5) if self.slots else None

    class Parrots(FakeFleet):
        def __call__(self, index: int) -> FakeWorker:
            return Parrot(index, fleet=self)

    bench.create(2)
    limits = Limits(silence=50.0, failures=1)
    with pytest.raises(WorkerError, match="made no progress for 5"):
        bench.run(fleet=Parrots(FakePlan(clock=clock)), clock=clock.now, limits=limits)


def test_a_slow_worker_that_goes_on_is_left_alone(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=2, clock=clock, quantum_seconds=1000.0, progress=40)
    bench.create(2)
    limits = Limits(silence=50.0, silence_factor=0.0, poll=2.0)
    assert bench.run(plan, clock=clock.now, limits=limits).why == "complete"
    assert not bench.events("worker")


def test_a_resumed_trial_writes_under_another_name(bench) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    before = bench.trials()
    # Far enough for another quantum, not so far that one is stopped.
    bench.run(PLAN, crash=(6, True))
    assert [trial.attempt for trial in before] == [0, 0, 0]
    assert [trial.attempt for trial in bench.trials()[:3]] == [1, 1, 1]
    assert all("-a1." in trial.checkpoint for trial in bench.trials()[:3])


@pytest.mark.parametrize("count", [1, 2])
def test_a_trial_that_keeps_killing_its_workers_fails_alone(bench, count: int) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", trial=3, quantum=2, times=None),))
    bench.create(TRIALS)
    assert bench.run(plan, count=count).why == "complete"
    trials = bench.trials()
    assert [trial.number for trial in trials if trial.state == "failed"] == [3]
    assert trials[3].reason == "kills its worker: worker 0: killed by SIGKILL"
    assert trials[3].quanta == 1
    bench.assert_whole(plan, TRIALS)


def test_two_killers_fail_and_the_rest_of_their_pack_lives(bench) -> None:
    faults = tuple(Fault(kind="die", trial=trial, quantum=1, times=None) for trial in (1, 2))
    plan = FakePlan(slots=8, faults=faults)
    bench.create(16)
    bench.run(plan)
    assert [trial.number for trial in bench.trials() if trial.state == "failed"] == [1, 2]
    bench.assert_whole(plan, 16)


def test_when_every_trial_kills_its_worker_the_machine_is_to_blame(bench) -> None:
    plan = FakePlan(slots=4, faults=(Fault(kind="die", times=None),))
    bench.create(TRIALS)
    with pytest.raises(WorkerError, match="3 trials in a row killed their workers"):
        bench.run(plan)
    assert sum(trial.state == "failed" for trial in bench.trials()) == 2
    bench.run(PLAN)
    assert len(bench.trials()) == TRIALS


def test_a_pack_that_only_dies_as_a_whole_is_made_smaller(bench) -> None:
    """Memory that runs out unsaid: no single trial is to blame."""
    plan = FakePlan(slots=4, faults=(Fault(kind="die", slots_above=2, times=None),))
    bench.create(16)
    assert bench.run(plan).why == "complete"
    assert not any(trial.state == "failed" for trial in bench.trials())
    assert [event["slots"] for event in bench.events("slots")] == [2]
    bench.assert_whole(plan, 16)


def test_out_of_memory_halves_the_slots_of_that_worker(bench) -> None:
    plan = FakePlan(slots=5, faults=(Fault(kind="out_of_memory", slots_above=1, times=None),))
    bench.create(20)
    fleet = FakeFleet(plan)
    bench.run(fleet=fleet)
    assert [event["slots"] for event in bench.events("slots")] == [2, 1]
    assert len(bench.events("worker")) == 2
    assert not any(trial.state in ("infeasible", "failed") for trial in bench.trials())
    bench.assert_whole(plan, 20)


def test_a_trial_that_does_not_fit_alone_is_infeasible(bench) -> None:
    plan = FakePlan(slots=4, faults=(Fault(kind="out_of_memory", trial=2, times=None),))
    bench.create(8)
    bench.run(plan)
    trials = bench.trials()
    assert [trial.number for trial in trials if trial.state == "infeasible"] == [2]
    assert "does not fit into memory, even alone" in trials[2].reason
    assert len(trials) == 8


def test_a_worker_that_cannot_be_started_again_leaves_its_trials_to_the_other(bench) -> None:
    class Dwindling(FakeFleet):
        """Worker 1 starts once only."""

        def __call__(self, index: int) -> Any:
            worker = super().__call__(index)
            if index == 1 and sum(made.index == 1 for made in self.made) > 1:
                worker.plan = dataclasses.replace(
                    self.plan, prepare_error=WorkerError("worker 1 cannot start")
                )
            return worker

    plan = FakePlan(slots=2, faults=(Fault(kind="die", worker=1, nth=3),))
    bench.create(TRIALS)
    assert bench.run(fleet=Dwindling(plan), count=2).why == "complete"
    assert any("given up after 3 starts" in message for message in bench.onlooker.messages)
    bench.assert_whole(plan, TRIALS)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_trial_whose_checkpoint_is_damaged_starts_over(bench, damage: str) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    victim = next(trial for trial in bench.trials() if trial.checkpoint is not None and trial.quanta > 1)
    with bench.store as store:
        file = store.study_dir(1) / victim.checkpoint
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    else:
        file.unlink()
    bench.run(PLAN)
    (event,) = bench.events("started_over")
    assert event["trial"] == victim.number
    bench.assert_whole(PLAN, TRIALS)


def test_a_trial_that_started_over_survives_another_death(bench) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    victim = next(trial for trial in bench.trials() if trial.checkpoint is not None and trial.quanta > 1)
    with bench.store as store:
        (store.study_dir(1) / victim.checkpoint).unlink()
    faults = tuple(Fault(kind="die", nth=nth) for nth in (3, 5))
    bench.run(dataclasses.replace(PLAN, faults=faults))
    bench.assert_whole(PLAN, TRIALS)


def test_a_trial_that_cannot_even_begin_fails(bench) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="slot_fails", trial=2, quantum=1, times=None),))
    bench.create(8)
    bench.run(plan)
    trial = bench.trials()[2]
    assert (trial.state, trial.quanta, trial.reason) == ("failed", 0, "trial 2 was told to fail")
    bench.assert_whole(plan, 8)


def test_checkpoints_that_cannot_be_written_blame_no_trial(bench) -> None:
    class Readonly(FakeWorker):
        def poll(self, timeout: float) -> Event | None:
            self.close()
            return WorkerFailed(
                reason="cannot write trial-0.safetensors: Read-only file system", storage=True
            )

    bench.create(8)
    with pytest.raises(StorageError, match="Read-only file system"):
        bench.run(fleet=lambda index: Readonly(index, plan=PLAN))
    assert {trial.state for trial in bench.trials()} == {"running"}
    bench.run(PLAN)
    bench.assert_whole(PLAN, 8)


def test_a_full_disk_blames_no_trial(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", nth=3),))
    bench.create(TRIALS)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
        with pytest.raises(StorageError, match="no space left"):
            bench.run(plan)
    bench.run(PLAN)
    bench.assert_whole(PLAN, TRIALS)


def test_a_lost_study_is_written_no_more(bench) -> None:
    """Another process takes the study over between two writes."""
    bench.create(TRIALS)

    class Thief:
        def on_snapshot(self, snapshot: Any) -> None:
            pass

        def on_message(self, text: str) -> None:
            if "complete" in text or "pruned" in text:
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
