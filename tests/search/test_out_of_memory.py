"""Memory that runs out makes fewer trials train at once, and ends none that would have fitted alone."""

from __future__ import annotations

import dataclasses

import pytest
from loratune.errors import OutOfMemory
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker, Fault
from loratune.study.config import ObjectiveConfig
from loratune.study.facts import Facts

TRIALS = 10


PLAN = FakePlan(slots=4)


def test_memory_that_runs_out_is_remembered_by_the_study(bench) -> None:
    """What follows from fewer slots is then the same, however often the search is interrupted."""
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="out_of_memory", slots_above=1, times=None),))
    bench.create(TRIALS)
    bench.run(plan, crash=(25, True))
    bench.run(plan)
    assert [event["slots"] for event in bench.events("slots")] == [1]
    assert len(bench.events("worker")) == 1, "after the resume it ran out once more"
    bench.assert_whole(plan, TRIALS)


@pytest.mark.parametrize("prepares", [1, 2, 3])
def test_memory_that_runs_out_when_a_worker_starts_halves_its_slots(bench, prepares: int) -> None:
    plan = dataclasses.replace(PLAN, prepares=prepares)
    bench.create(TRIALS)
    fleet = FakeFleet(plan)
    assert bench.run(fleet=fleet).why == "complete"
    assert [event["slots"] for event in bench.events("slots")] == [2, 1][: 3 - min(prepares, 2)]
    assert bench.events("slots")[0]["reason"] == "worker 0: out of memory"
    bench.assert_whole(plan, TRIALS)


def test_memory_that_does_not_take_one_trial_ends_the_search_at_once(bench) -> None:
    bench.create(TRIALS)
    fleet = FakeFleet(dataclasses.replace(PLAN, prepares=0))
    with pytest.raises(OutOfMemory, match="out of memory"):
        bench.run(fleet=fleet)
    assert len(fleet.made) == 3, "4, 2 and 1 slots, each tried once"


def test_a_user_who_asks_for_other_slots_is_heard(bench) -> None:
    bench.create(TRIALS)
    objective = dataclasses.replace(bench.config().objective, slots=2)
    bench.run(PLAN, crash=(5, True), objective=objective)
    bench.run(PLAN)
    assert [(event["slots"], event["reason"]) for event in bench.events("slots")] == [(2, "asked for")]
    bench.assert_whole(PLAN, TRIALS)


def test_out_of_memory_halves_the_slots_of_that_worker(bench) -> None:
    plan = FakePlan(slots=5, faults=(Fault(kind="out_of_memory", slots_above=1, times=None),))
    bench.create(20)
    fleet = FakeFleet(plan)
    bench.run(fleet=fleet)
    assert [event["slots"] for event in bench.events("slots")] == [2, 1]
    assert len(bench.events("worker")) == 2
    assert not any(trial.state in ("infeasible", "failed") for trial in bench.trials())
    bench.assert_whole(plan, 20)
    assert any("at most 1 trial at once" in message for message in bench.onlooker.sentences)


def test_a_trial_that_does_not_fit_alone_is_infeasible(bench) -> None:
    plan = FakePlan(slots=4, faults=(Fault(kind="out_of_memory", trial=2, times=None),))
    bench.create(8)
    bench.run(plan)
    trials = bench.trials()
    assert [trial.number for trial in trials if trial.state == "infeasible"] == [2]
    assert "does not fit into memory, even alone" in trials[2].reason
    assert len(trials) == 8


def test_half_as_much_goes_through_the_base_model_at_once_after_memory_ran_out_also_on_a_resume(
    bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials that wait their turn keep no activations: fewer of them alone would hardly help."""
    asked: list[tuple[int | None, int | None]] = []
    real = FakeWorker.prepare

    def watched(worker: FakeWorker, config: ObjectiveConfig) -> Facts:
        asked.append((config.slots, config.pass_tokens))
        return dataclasses.replace(real(worker, config), pass_tokens=config.pass_tokens or 4096)

    monkeypatch.setattr(FakeWorker, "prepare", watched)
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="out_of_memory", slots_above=1, times=None),))
    bench.create(TRIALS)
    bench.run(plan, crash=(25, True))
    bench.run(plan)
    assert [(event["slots"], event["pass_tokens"]) for event in bench.events("slots")] == [(1, 2048)]
    assert asked[0] == (None, None)
    assert asked[1][1] == 4096
    assert set(asked[2:]) == {(1, 2048)}, "also after the resume"
    bench.assert_whole(plan, TRIALS)
