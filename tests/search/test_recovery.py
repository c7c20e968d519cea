"""Whatever dies, and whenever: the study ends as if nothing had."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from loratune.errors import StorageError, WorkerError
from loratune.objectives.base import WorkerEvent, WorkerFailed
from loratune.objectives.testing.clock import ManualClock
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker, Fault
from loratune.search.limits import Limits
from loratune.storage import study_files

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


deaths = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(1, 30), st.sampled_from(["killed", "killed", "die_after_saving"])
    ),
    max_size=9,
    unique_by=lambda death: death[:2],
)


@few
@given(deaths=deaths, crashes=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=2))
@pytest.mark.parametrize("count", [1, 2])
def test_workers_killed_at_random_change_nothing_at_all(
    new_bench,
    undisturbed,
    undisturbed_by_two,
    count: int,
    deaths: list[tuple[int, int, Any]],
    crashes: list[tuple[int, bool]],
) -> None:
    """Not one number, not one outcome, not the order of the trials: also where deaths follow each other."""
    plan = dataclasses.replace(
        PLAN, faults=tuple(Fault(kind=kind, worker=worker, nth=nth) for worker, nth, kind in deaths)
    )
    bench = new_bench()
    bench.create(TRIALS)
    fleet = FakeFleet(plan)
    for crash in crashes:
        bench.run(fleet=fleet, count=count, deterministic=True, crash=crash)
    bench.run(fleet=fleet, count=count, deterministic=True)
    assert bench.sequence() == (undisturbed if count == 1 else undisturbed_by_two)(new_bench)
    assert not bench.events("slots")
    bench.assert_whole(plan, TRIALS)


@pytest.mark.parametrize("count", [1, 2])
def test_a_trial_is_stopped_or_not_whoever_died_before(
    bench, undisturbed, undisturbed_by_two, new_bench, count
):
    """Two deaths without a round between them used to leave the worker with half of its slots."""
    faults = tuple(Fault(kind="die", worker=0, nth=nth) for nth in (3, 4))
    bench.create(TRIALS)
    bench.run(dataclasses.replace(PLAN, faults=faults), count=count, deterministic=True)
    assert len(bench.events("worker")) == 2
    assert bench.sequence() == (undisturbed if count == 1 else undisturbed_by_two)(new_bench)


@pytest.mark.parametrize(("killed", "starts"), [(False, 3), (True, 10)])
def test_a_start_that_another_process_ended_is_tried_more_often(bench, killed: bool, starts: int) -> None:
    error = WorkerError("worker 0 was killed by SIGKILL")
    error.killed = killed
    bench.create(TRIALS)
    fleet = FakeFleet(dataclasses.replace(PLAN, prepare_error=error))
    with pytest.raises(WorkerError, match="no worker can be started"):
        bench.run(fleet=fleet)
    assert len(fleet.made) == starts


def test_a_worker_that_does_not_come_up_again_changes_nothing(bench, undisturbed_by_two, new_bench) -> None:
    """The other one trains its trials as well, in passes, and as many are in flight as before."""
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", worker=1, nth=2),))
    bench.create(TRIALS)
    fleet = Dwindling(plan)
    bench.run(fleet=fleet, count=2, deterministic=True)
    assert any("given up" in message for message in bench.onlooker.sentences)
    assert bench.sequence() == undisturbed_by_two(new_bench)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("damaged", [1, 2])
def test_a_lost_state_delays_the_round_and_changes_nothing(
    bench, undisturbed, undisturbed_by_two, new_bench, count: int, damaged: int
) -> None:
    """The trial catches up while the others wait: from the state before, or else from its beginning."""
    bench.create(TRIALS)
    bench.run(PLAN, count=count, deterministic=True, crash=(9, True))
    victim = next(trial for trial in bench.trials() if trial.checkpoint is not None and trial.rounds > 1)
    with bench.store as store:
        folder = store.study_dir(1)
    before = study_files.previous(study_files.listing(folder), bench.trials())
    for name in (victim.checkpoint, before[victim.number])[:damaged]:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 4
        (folder / name).write_bytes(content)
    bench.run(PLAN, count=count, deterministic=True)
    assert [event["rounds"] for event in bench.events("started_over")] == [victim.rounds - 1, 0][:damaged]
    assert f"trial {victim.number} goes on from round {victim.rounds - 1} and repeats" in " ".join(
        bench.onlooker.sentences
    )
    assert bench.sequence() == (undisturbed if count == 1 else undisturbed_by_two)(new_bench)
    bench.assert_whole(PLAN, TRIALS)


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
        def poll(self, timeout: float) -> WorkerEvent | None:
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
    plan = FakePlan(slots=2, clock=clock, round_seconds=1000.0, progress=40)
    bench.create(2)
    limits = Limits(silence=50.0, silence_factor=0.0, poll=2.0)
    assert bench.run(plan, clock=clock.now, limits=limits).why == "complete"
    assert not bench.events("worker")


def test_an_evaluation_that_goes_on_is_left_alone_however_long_it_takes(bench) -> None:
    clock = ManualClock()

    class Evaluating(FakeWorker):
        passes = 0

        def poll(self, timeout: float) -> WorkerEvent | None:
            clock.sleep(40.0)
            self.passes += 1
            if self.slots and self.passes % 6:
                return dataclasses.replace(self._progress_event(1.0), phase="eval", passes=self.passes)
            return super().poll(timeout)

    class Fleet(FakeFleet):
        def __call__(self, index: int) -> FakeWorker:
            return Evaluating(index, fleet=self)

    bench.create(1)
    limits = Limits(silence=50.0, silence_factor=0.0)
    outcome = bench.run(fleet=Fleet(FakePlan(clock=clock)), clock=clock.now, limits=limits)
    assert outcome.why == "complete"
    assert clock.now() > 8 * 200
    assert not bench.events("worker")


def test_a_resumed_trial_writes_under_another_name(bench) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    before = bench.trials()
    # Far enough for another round, not so far that one is stopped.
    bench.run(PLAN, crash=(6, True))
    assert [trial.attempt for trial in before] == [0, 0, 0]
    assert [trial.attempt for trial in bench.trials()[:3]] == [1, 1, 1]
    assert all("-a1." in trial.checkpoint for trial in bench.trials()[:3])


@pytest.mark.parametrize("count", [1, 2])
def test_a_trial_that_keeps_killing_its_workers_fails_alone(bench, count: int) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", trial=3, round=2, times=None),))
    bench.create(TRIALS)
    assert bench.run(plan, count=count).why == "complete"
    trials = bench.trials()
    assert [trial.number for trial in trials if trial.state == "failed"] == [3]
    assert trials[3].reason == "kills its worker: worker 0: killed by SIGKILL"
    assert trials[3].rounds == 1
    bench.assert_whole(plan, TRIALS)


def test_two_killers_fail_and_the_rest_of_their_pack_lives(bench) -> None:
    faults = tuple(Fault(kind="die", trial=trial, round=1, times=None) for trial in (1, 2))
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
    assert not bench.events("slots"), "it was not said that memory ran out"
    assert len(bench.events("worker")) < 16, "the whole is tried ever less often"
    bench.assert_whole(plan, 16)


def test_a_search_of_one_trial_never_speaks_of_several(bench) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", nth=2),))
    bench.create(1)
    bench.run(plan, crash=(1, True))
    bench.run(plan)
    said = bench.onlooker.sentences
    assert "resumed: 0 of 1 trial has ended, 1 goes on" in said
    assert any("its trial goes on from its last checkpoint" in message for message in said)
    assert not any("1 trials" in message for message in said)


class Dwindling(FakeFleet):
    """Worker 1 starts once only."""

    def __call__(self, index: int) -> Any:
        worker = super().__call__(index)
        if index == 1 and sum(made.index == 1 for made in self.made) > 1:
            worker.plan = dataclasses.replace(self.plan, prepare_error=WorkerError("worker 1 cannot start"))
        return worker


def test_a_worker_that_cannot_be_started_again_leaves_its_trials_to_the_other(bench) -> None:
    plan = FakePlan(slots=2, faults=(Fault(kind="die", worker=1, nth=3),))
    bench.create(TRIALS)
    assert bench.run(fleet=Dwindling(plan), count=2).why == "complete"
    assert any("given up after 3 starts" in message for message in bench.onlooker.sentences)
    bench.assert_whole(plan, TRIALS)


@pytest.mark.parametrize("damage", ["cut", "gone", "one bit"])
def test_a_trial_whose_checkpoint_is_damaged_starts_over(bench, damage: str) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    victim = next(trial for trial in bench.trials() if trial.checkpoint is not None and trial.rounds > 1)
    with bench.store as store:
        file = store.study_dir(1) / victim.checkpoint
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "one bit":
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    bench.run(PLAN)
    (event,) = bench.events("started_over")
    assert event["trial"] == victim.number
    bench.assert_whole(PLAN, TRIALS)


def test_a_trial_that_started_over_survives_another_death(bench) -> None:
    bench.create(TRIALS)
    bench.run(PLAN, crash=(7, True))
    victim = next(trial for trial in bench.trials() if trial.checkpoint is not None and trial.rounds > 1)
    with bench.store as store:
        (store.study_dir(1) / victim.checkpoint).unlink()
    faults = tuple(Fault(kind="die", nth=nth) for nth in (3, 5))
    bench.run(dataclasses.replace(PLAN, faults=faults))
    bench.assert_whole(PLAN, TRIALS)


def test_a_trial_that_cannot_even_begin_fails(bench) -> None:
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="slot_fails", trial=2, round=1, times=None),))
    bench.create(8)
    bench.run(plan)
    trial = bench.trials()[2]
    assert (trial.state, trial.rounds, trial.reason) == ("failed", 0, "trial 2 was told to fail")
    bench.assert_whole(plan, 8)


def test_checkpoints_that_cannot_be_written_blame_no_trial(bench) -> None:
    class Readonly(FakeWorker):
        def poll(self, timeout: float) -> WorkerEvent | None:
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
