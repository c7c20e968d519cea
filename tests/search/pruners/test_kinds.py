"""What all pruners have in common."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.search.pruners.base import Arrivals
from loratune.search.pruners.kinds import promoter_of, pruner_of
from loratune.study.pruners import PRUNERS, PrunerSettings

EACH = pytest.mark.parametrize("settings", [kind() for kind in PRUNERS.kinds], ids=str)
RUNGS = (1, 2, 4, 8)


@st.composite
def arrivals(draw: st.DrawFn) -> Arrivals:
    """Trials that got as far as some rung, a few of whom have just arrived at one."""
    loss = st.one_of(st.floats(0.1, 10.0), st.sampled_from([1.0, 2.0]))
    reached = draw(st.dictionaries(st.integers(0, 60), st.integers(1, 4), min_size=1, max_size=40))
    losses: dict[int, dict[int, float]] = {rung: {} for rung in RUNGS}
    for trial, count in reached.items():
        for rung in RUNGS[:count]:
            losses[rung][trial] = draw(loss)
    rung = draw(st.sampled_from(RUNGS[:-1]))
    last = sorted(trial for trial, count in reached.items() if RUNGS[count - 1] == rung)
    arrived = draw(st.sets(st.sampled_from(last))) if last else set()
    return Arrivals(rung=rung, arrived=frozenset(arrived), losses=losses)


@EACH
@given(given=arrivals(), random=st.randoms(use_true_random=False))
def test_no_order_of_anything_changes_a_decision(
    settings: PrunerSettings, given: Arrivals, random: st.randoms
) -> None:
    found = pruner_of(settings).decide(given)
    decided = found.stop | found.wait
    assert not found.stop & found.wait
    assert decided <= given.arrived
    shuffled = {}
    for rung in random.sample(RUNGS, 4):
        items = list(given.losses[rung].items())
        random.shuffle(items)
        shuffled[rung] = dict(items)
    assert found == pruner_of(settings).decide(
        Arrivals(rung=given.rung, arrived=given.arrived, losses=shuffled)
    )
    # Asking trial by trial says the same as asking for all at once.
    alone = {
        trial
        for trial in given.arrived
        for one in [Arrivals(rung=given.rung, arrived=frozenset({trial}), losses=given.losses)]
        for answer in [pruner_of(settings).decide(one)]
        if answer.stop | answer.wait
    }
    assert alone == decided


@EACH
@given(given=arrivals())
def test_the_best_that_ever_reached_a_rung_goes_on(settings: PrunerSettings, given: Arrivals) -> None:
    best = min(given.here.values(), default=math.inf)
    if settings.name != "median":  # which goes by complete trials alone, of which a better one may be
        assert not any(given.here[trial] == best for trial in pruner_of(settings).decide(given).stop)


@EACH
def test_a_rung_that_is_the_last_one_stops_nobody(settings: PrunerSettings) -> None:
    values = {trial: float(trial) for trial in range(30)}
    losses = dict.fromkeys(RUNGS, values)
    found = pruner_of(settings).decide(Arrivals(rung=8, arrived=frozenset(values), losses=losses))
    assert not found.stop | found.wait


def test_without_a_pruner_nobody_is_stopped_and_with_the_others_somebody_is() -> None:
    values = {trial: float(trial) for trial in range(30)}
    losses = dict.fromkeys(RUNGS, values)
    arrivals = Arrivals(rung=4, arrived=frozenset(values), losses=losses)
    stopping = [kind.name for kind in PRUNERS.kinds if pruner_of(kind()).decide(arrivals).stop]
    waiting = [kind.name for kind in PRUNERS.kinds if pruner_of(kind()).decide(arrivals).wait]
    assert waiting == [kind.name for kind in PRUNERS.kinds if kind.pausing] == ["promote"]
    assert [*stopping, *waiting] == [
        *(kind.name for kind in PRUNERS.kinds if kind.stops and not kind.pausing),
        *waiting,
    ]
    assert "none" not in stopping


@EACH
def test_who_lets_trials_wait_says_so_and_can_say_who_goes_on(settings: PrunerSettings) -> None:
    assert (promoter_of(settings) is not None) == settings.pausing
