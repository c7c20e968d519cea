"""Trials that wait for a place, and go on once they have earned it: a search that pauses and promotes."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.objectives.testing.fake import FakeFleet, FakePlan, Fault
from loratune.search.interrupt import StopSignal
from loratune.search.loop import run
from loratune.search.pruners.promote import PromotePruner
from loratune.spaces.range import Range
from loratune.storage import study_files
from loratune.storage.store import Store
from loratune.study.budget import RUNGS
from loratune.study.events import StudyProgress
from loratune.study.pruners import Promote
from loratune.study.waiting import leading, rung_losses, waiting

PLAN = FakePlan(slots=4)
TRIALS = 20
SLOW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def promoting(bench: Any, trials: int = TRIALS, **choices: Any) -> Any:
    """Return a bench with a study whose trials wait."""
    bench.create(trials, bench.config(pruner="promote", **choices))
    return bench


@pytest.fixture(scope="module")
def undisturbed_by_any() -> dict[str, Any]:
    return {}


def whole_sequence(new_bench: Any, kept: dict[str, Any]) -> Any:
    """Return what becomes of a study that nothing disturbs, made once."""
    if "found" not in kept:
        bench = promoting(new_bench())
        assert bench.run(PLAN).why == "complete"
        kept["found"] = bench.sequence()
    return kept["found"]


def losses_by_rung(bench: Any) -> dict[int, dict[int, float]]:
    with bench.store as store:
        return rung_losses(store.curve(store.study("a").id))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_study_ends_with_exactly_its_trials_and_nobody_waits(bench, count: int) -> None:
    bench.copying = True
    promoting(bench)
    outcome = bench.run(PLAN, count=count)
    assert outcome.why == "complete"
    bench.assert_whole(PLAN, TRIALS)
    assert outcome.counts["running"] == outcome.counts["waiting"] == 0
    assert sum(outcome.counts.values()) == TRIALS
    assert outcome.rounds == sum(trial.rounds for trial in bench.trials())


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 7])
def test_the_smallest_studies_end_too_with_a_complete_trial_beside_the_default(bench, trials: int) -> None:
    promoting(bench, trials)
    assert bench.run(PLAN).why == "complete"
    bench.assert_whole(PLAN, trials)
    complete = [trial.number for trial in bench.trials() if trial.state == "complete"]
    assert complete[0] == 0
    assert len(complete) >= min(2, trials)


def test_most_trials_are_left_at_the_first_rung_and_the_best_of_each_have_gone_on(bench) -> None:
    promoting(bench, 40)
    bench.run(PLAN)
    trials, losses = {trial.number: trial for trial in bench.trials()}, losses_by_rung(bench)
    left = [sum(trial.rounds == rung for trial in trials.values()) for rung in RUNGS]
    assert left[0] > 20
    assert left[3] == sum(trial.state == "complete" for trial in trials.values()) >= 2
    for rung in RUNGS[:-1]:
        for number in leading(losses[rung], 3):
            assert trials[number].rounds > rung
    share = sum(trial.rounds for trial in trials.values()) / (8 * 40)
    assert 0.2 < share < 0.35


def test_the_default_never_waits_nor_does_one_whose_learning_rate_still_rises(bench) -> None:
    space = bench.config().space.replace(Range(name="warmup_ratio", low=0.0, high=0.3))
    default = bench.config().first[0]
    poor = dataclasses.replace(default, learning_rate=4e-4, lora_rank=2, lora_alpha=1.0)
    slow = dataclasses.replace(poor, warmup_ratio=0.3)  # it rises for more than two rounds
    bench.create(12, bench.config(space, pruner="promote", first=(poor, slow)))
    bench.run(PLAN)
    first, second = bench.trials()[0], bench.trials()[1]
    assert (first.state, first.rounds) == ("complete", 8)
    assert second.rounds >= 4
    waited = {(one.trial, one.round) for shot in bench.onlooker.progress for one in shot.waiting}
    assert waited
    assert waited.isdisjoint({(0, 1), (0, 2), (0, 4), (1, 1), (1, 2)})


@SLOW
@given(crash=st.integers(0, 160), written=st.booleans())
def test_a_search_that_is_killed_at_any_write_ends_as_one_that_was_not(
    new_bench, undisturbed_by_any, crash: int, written: bool
) -> None:
    wanted = whole_sequence(new_bench, undisturbed_by_any)
    bench = promoting(new_bench())
    for _ in range(200):
        if bench.run(PLAN, crash=(crash, written)) is not None:
            break
        crash += 7  # it gets on, whatever it is killed by
    assert bench.sequence() == wanted
    bench.assert_whole(PLAN, TRIALS)


def test_who_waits_is_found_again_by_whoever_reads_the_record(bench) -> None:
    promoting(bench)
    seen = []
    for _ in range(60):
        ended = bench.run(PLAN, crash=(25, True))
        trials, losses = bench.trials(), losses_by_rung(bench)
        seen.append(len(waiting(trials, losses, Promote())))
        for number, rung in waiting(trials, losses, Promote()).items():
            assert trials[number].rounds == rung
            assert trials[number].checkpoint is not None
            with bench.store as store:
                assert (store.study_dir(store.study("a").id) / trials[number].checkpoint).exists()
        if ended is not None:
            break
    assert max(seen) >= 3
    assert seen[-1] == 0


class Stop:
    """Asks a search to end once so many trials wait."""

    def __init__(self, waiting: int) -> None:
        self.signal, self._waiting = StopSignal(), waiting
        self.seen: list[StudyProgress] = []

    def on_event(self, event: Any) -> None:
        if isinstance(event, StudyProgress):
            self.seen.append(event)
            if len(event.waiting) >= self._waiting:
                self.signal.request()


def test_who_waits_when_a_search_is_interrupted_waits_on_and_what_follows_is_the_same(
    new_bench, undisturbed_by_any
) -> None:
    wanted = whole_sequence(new_bench, undisturbed_by_any)
    bench = promoting(new_bench())
    stop = Stop(3)
    bench.onlooker.on_event = stop.on_event
    assert bench.run(PLAN, stop=stop.signal).why == "interrupted"
    waits = waiting(bench.trials(), losses_by_rung(bench), Promote())
    assert len(waits) >= 3
    assert {one.trial for one in stop.seen[-1].waiting} == set(waits)
    stop.signal.__init__()  # type: ignore[misc]
    bench.onlooker.on_event = lambda event: None
    assert bench.run(PLAN).why == "complete"
    assert bench.sequence() == wanted


class Watched(FakeFleet):
    """Looks at every round that begins: who is trained in it, who waits meanwhile, how many have begun."""

    def __init__(self, bench: Any, plan: FakePlan) -> None:
        super().__init__(plan)
        self._bench = bench
        self.rounds: list[tuple[set[int], dict[int, int], tuple[int, ...], int]] = []
        """The trials inside, those that wait with their rungs, those of them that have earned a place, and
        how many trials there are."""

    def round_begins(self, worker: int) -> int:
        records = self._bench.trials()
        inside = set(self.calls[-1][2])
        waits = {one.number: one.rounds for one in records if one.state == "running"}
        waits = {number: rounds for number, rounds in waits.items() if number not in inside}
        earned = PromotePruner(settings=Promote()).earned(waits, losses_by_rung(self._bench))
        assert not (earned and any(records[number].rounds == 0 for number in inside)), "a new one came first"
        self.rounds.append((inside, waits, earned, len(records)))
        return super().round_begins(worker)


def test_a_place_is_never_idle_while_a_trial_has_earned_it_or_is_left_to_begin(bench) -> None:
    promoting(bench, 40)
    fleet = Watched(bench, PLAN)
    bench.run(fleet=fleet)
    assert sum(len(inside) == 4 for inside, *_ in fleet.rounds) > len(fleet.rounds) / 2
    for inside, waits, earned, begun in fleet.rounds:
        assert len(inside) == 4 or (not earned and begun == 40)
        assert set(waits.values()) <= {1, 2, 4}


def test_what_waits_in_vain_is_stopped_as_soon_as_that_is_known(bench) -> None:
    promoting(bench, 40)
    fleet = Watched(bench, PLAN)
    bench.run(fleet=fleet)
    at_the_first = [
        sum(rounds == 1 for rounds in waits.values()) for _, waits, _, begun in fleet.rounds if begun < 40
    ]
    assert 3 <= max(at_the_first) <= 40 // 3
    reasons = [trial.reason for trial in bench.trials() if trial.state == "pruned"]
    assert all(reason.startswith("eval loss ") and " after round " in reason for reason in reasons)


@SLOW
@given(crash=st.integers(10, 60), written=st.booleans())
def test_whenever_a_search_of_several_workers_is_killed_all_trials_end_whole(
    new_bench, crash: int, written: bool
) -> None:
    bench = promoting(new_bench(), 12)
    for _ in range(100):
        if bench.run(FakePlan(slots=2), count=3, crash=(crash, written)) is not None:
            break
    bench.assert_whole(FakePlan(slots=2), 12)


@pytest.mark.parametrize("kind", ["die", "killed", "die_after_saving"])
def test_a_trial_that_waits_is_not_lost_with_the_worker_that_trained_it(bench, kind: Any) -> None:
    faults = tuple(Fault(kind=kind, worker=index, nth=nth) for index in (0, 1) for nth in (2, 5, 9, 14))
    plan = FakePlan(slots=4, faults=faults)
    promoting(bench)
    assert bench.run(plan, count=2).why == "complete"
    bench.assert_whole(plan, TRIALS)
    assert bench.events("worker")


def test_deaths_of_the_one_worker_change_nothing_of_what_becomes_of_the_trials(
    new_bench, undisturbed_by_any
) -> None:
    wanted = whole_sequence(new_bench, undisturbed_by_any)
    bench = promoting(new_bench())
    bench.run(FakePlan(slots=4, faults=tuple(Fault(kind="killed", nth=nth) for nth in (1, 3, 4, 8, 12))))
    assert bench.sequence() == wanted


def test_where_memory_runs_out_fewer_train_at_once_and_all_end(bench) -> None:
    plan = FakePlan(slots=4, faults=(Fault(kind="out_of_memory", slots_above=2, times=None),))
    promoting(bench)
    assert bench.run(plan).why == "complete"
    bench.assert_whole(plan, TRIALS)
    assert bench.events("slots")[-1]["slots"] == 2


def test_two_workers_that_wait_for_each_other_repeat_what_they_did_also_if_they_are_killed(new_bench) -> None:
    found = []
    for crash in (None, 17, 30):
        bench = promoting(new_bench())
        for _ in range(60):
            killed = None if crash is None else (crash, True)
            if bench.run(FakePlan(slots=2), count=2, deterministic=True, crash=killed) is not None:
                break
        found.append(bench.sequence())
    assert found[0] == found[1] == found[2]


@SLOW
@given(seed=st.integers(0, 1000))
def test_whichever_worker_takes_it_up_a_trial_that_waited_has_the_losses_of_one_that_never_did(
    new_bench, seed: int
) -> None:
    rng = random.Random(seed)
    bench = promoting(new_bench())
    plan = FakePlan(slots=2, round_seconds=lambda index, inside: rng.random() * 0.002)
    assert bench.run(plan, count=3).why == "complete"
    bench.assert_whole(plan, TRIALS)  # compares each with the same trial alone


def test_a_trial_that_waits_keeps_one_state_alone(bench) -> None:
    promoting(bench)
    seen = []
    for _ in range(90):
        ended = bench.run(PLAN, crash=(15, True))
        if ended is not None:
            break
        trials = bench.trials()
        waits = waiting(trials, losses_by_rung(bench), Promote())
        with bench.store as store:
            present = study_files.listing(store.study_dir(store.study("a").id))
        for trial in trials:
            count = len([name for name in present if f"/trial-{trial.number:05d}-" in name])
            if trial.number in waits:
                seen.append(count)
    assert ended is not None
    # The one before may be there where the kill came in between.
    assert seen.count(1) > 0.7 * len(seen) > 3
    assert set(seen) <= {1, 2}


def test_a_damaged_state_of_a_trial_that_waited_is_trained_again(bench) -> None:
    promoting(bench)
    hurt = set()
    for _ in range(60):
        if bench.run(PLAN, crash=(30, True)) is not None:
            break
        trials = bench.trials()
        with bench.store as store:
            folder = store.study_dir(store.study("a").id)
        for number in waiting(trials, losses_by_rung(bench), Promote()):
            if number not in hurt and len(hurt) < 3:
                (folder / trials[number].checkpoint).write_bytes(b"damaged")
                hurt.add(number)
    assert hurt
    bench.assert_whole(PLAN, TRIALS)


class DiesAtTheLast:
    """A store that dies where all that is left to record is that those that wait are stopped."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def record_round(self, study_id: int, updates: Any, endings: Any) -> Any:
        left = {trial.number for trial in self._store.trials(study_id) if trial.state == "running"}
        if not updates and left == {ending.trial for ending in endings}:
            raise KeyboardInterrupt
        return self._store.record_round(study_id, updates, endings)


def test_where_they_are_only_to_be_stopped_a_resumed_search_starts_no_worker(
    new_bench, undisturbed_by_any
) -> None:
    wanted = whole_sequence(new_bench, undisturbed_by_any)
    bench = promoting(new_bench())
    with Store.open(str(bench.path), mode="write") as store, pytest.raises(KeyboardInterrupt):
        run(DiesAtTheLast(store), store.study("a"), factory=FakeFleet(PLAN))  # type: ignore[arg-type]
    assert any(trial.state == "running" for trial in bench.trials())
    fleet = FakeFleet(PLAN)
    assert bench.run(fleet=fleet).why == "complete"
    assert fleet.made == []
    assert bench.sequence() == wanted


def test_more_trials_on_resume_leave_what_was_stopped_as_it_is(bench) -> None:
    promoting(bench, 10)
    bench.run(PLAN)
    before = bench.sequence()
    with bench.store as store:
        study = dataclasses.replace(store.study("a"), trials=24)
    with Store.open(str(bench.path), mode="write") as store:
        assert run(store, study, factory=FakeFleet(PLAN)).why == "complete"
    assert bench.sequence()[:10] == before
    bench.assert_whole(PLAN, 24)
