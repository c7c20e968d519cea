"""A search that is asked to end, or whose time is over: at a boundary that is near, or at once."""

from __future__ import annotations

import pytest
from loratune.objectives.testing.clock import ManualClock
from loratune.objectives.testing.fake import FakePlan
from loratune.search.interrupt import StopSignal

PLAN = FakePlan(slots=4)


def test_a_time_limit_ends_a_search_that_can_be_resumed(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=4, round_seconds=10.0, clock=clock)
    bench.create(8)
    outcome = bench.run(plan, timeout=95.0, clock=clock.now)
    assert outcome.why == "timeout"
    assert outcome.seconds < 101
    assert bench.events("interrupted")[0]["why"] == "timeout"
    assert bench.run(PLAN).why == "complete"
    bench.assert_whole(PLAN, 8)


class StopAt(StopSignal):
    """Is asked to end once the clock has come so far."""

    def __init__(self, clock: ManualClock, *times: float) -> None:
        super().__init__()
        self.clock, self.times = clock, list(times)

    @property
    def requested(self) -> bool:
        while self.times and self.clock.now() >= self.times[0]:
            self.times.pop(0)
            self.request()
        return super().requested


@pytest.mark.parametrize(
    ("asked", "ends", "recorded"),
    [(26.0, 30.0, 3), (23.0, 23.5, 2), (28.0, 30.0, 3)],
    ids=["a boundary is near", "no boundary is near", "a boundary is very near"],
)
def test_asked_to_end_it_waits_for_a_boundary_that_is_near(
    bench, asked: float, ends: float, recorded: int
) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=4, round_seconds=10.0, clock=clock)
    bench.create(8)
    outcome = bench.run(plan, stop=StopAt(clock, asked), clock=clock.now)
    assert outcome.why == "interrupted"
    assert outcome.seconds <= ends + 0.2
    assert bench.trials()[0].rounds == recorded


def test_asked_twice_it_ends_at_once(bench) -> None:
    clock = ManualClock()
    plan = FakePlan(slots=4, round_seconds=10.0, clock=clock)
    bench.create(8)
    outcome = bench.run(plan, stop=StopAt(clock, 26.0, 27.0), clock=clock.now)
    assert outcome.seconds < 27.2
    assert bench.trials()[0].rounds == 2
