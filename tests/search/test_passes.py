"""How a worker goes through a round, with plain tuples: whoever dies, everyone ends the round."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from loratune.search.passes import (
    ALONE_KILLS,
    Passes,
    after_leaving,
    after_pass,
    after_round,
    after_worker_died,
    beginning,
    next_pass,
    spread,
)

Fate = Callable[[tuple[int, ...]], str]


def go_round(passes: Passes, members: list[int], fate: Fate) -> tuple[Passes, dict[int, str], int]:
    """Take a round's trials through it; return the state, who ended it and how, and the deaths."""
    pending, ends, deaths = sorted(members), {}, 0
    while pending:
        pack = next_pass(passes, pending)
        assert pack, "a worker that has something to do does something"
        assert set(pack) <= set(pending), "nobody is trained twice in a round"
        what = fate(pack)
        if what == "lives":
            passes = after_pass(passes, len(pack))
            ends.update(dict.fromkeys(pack, "round"))
            pending = [number for number in pending if number not in pack]
            continue
        deaths += 1
        assert deaths < 2000, "it goes on for ever"
        response = after_worker_died(passes, pack, out_of_memory=what == "memory", killed=what == "killed")
        passes = response.passes
        if response.blamed is not None:
            ends[response.blamed] = response.state
            passes = after_leaving(passes, response.blamed)
            pending.remove(response.blamed)
    return after_round(passes), ends, deaths


@given(slots=st.integers(1, 9), count=st.integers(1, 12), dice=st.lists(st.booleans(), max_size=ALONE_KILLS))
def test_kills_at_random_end_no_trial_and_leave_nobody_out(slots: int, count: int, dice: list[bool]) -> None:
    """So many kills as there are, in any order, accuse nobody."""
    left = list(dice)

    def fate(pack: tuple[int, ...]) -> str:
        return "killed" if left and left.pop() else "lives"

    passes, ends, _ = go_round(beginning(slots), list(range(count)), fate)
    assert ends == dict.fromkeys(range(count), "round")
    assert passes.slots == slots
    assert not passes.suspicion.groups


@given(slots=st.integers(1, 9), members=st.sets(st.integers(0, 30), min_size=1, max_size=12), data=st.data())
def test_who_kills_its_worker_each_time_fails_alone(
    slots: int, members: set[int], data: st.DataObject
) -> None:
    killers = data.draw(st.sets(st.sampled_from(sorted(members)), max_size=3))
    kind = data.draw(st.sampled_from(["dies", "killed"]))

    def fate(pack: tuple[int, ...]) -> str:
        return kind if killers & set(pack) else "lives"

    _, ends, deaths = go_round(beginning(slots), sorted(members), fate)
    assert {number for number, how in ends.items() if how == "failed"} == killers
    assert set(ends) == members
    assert deaths <= 25 * len(killers)


@given(slots=st.integers(1, 32), limit=st.integers(1, 32))
def test_slots_come_back_when_deaths_end(slots: int, limit: int) -> None:
    passes = dataclasses.replace(beginning(slots), limit=min(slots, limit), wait=3)
    for _ in range(12):
        passes, ends, _ = go_round(passes, list(range(slots)), lambda pack: "lives")
        assert len(ends) == slots
    assert passes.limit == passes.slots == slots


@given(slots=st.integers(2, 32), fit=st.integers(1, 31))
def test_a_limit_that_nobody_names_is_tried_ever_less_often(slots: int, fit: int) -> None:
    """Memory that runs out unsaid kills every pack above a size."""
    passes, dead = beginning(slots), 0
    for _ in range(100):
        passes, ends, deaths = go_round(
            passes, list(range(slots)), lambda pack: "dies" if len(pack) > fit else "lives"
        )
        assert set(ends.values()) == {"round"}
        dead += deaths
    assert dead <= 110


def test_memory_that_runs_out_halves_the_slots_and_a_trial_that_never_fits_is_infeasible() -> None:
    response = after_worker_died(beginning(5), (0, 1, 2, 3, 4), out_of_memory=True)
    assert (response.slots, response.passes.slots, response.blamed) == (2, 2, None)
    response = after_worker_died(response.passes, (0,), out_of_memory=True)
    assert (response.slots, response.blamed, response.state) == (None, 0, "infeasible")


@given(
    places=st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=4),
    loose=st.sets(st.integers(100, 120), max_size=8),
    level=st.booleans(),
)
def test_every_trial_has_one_place(places: list[list[int]], loose: set[int], *, level: bool) -> None:
    seen: set[int] = set()
    apart = [[n for n in dict.fromkeys(place) if not (n in seen or seen.add(n))] for place in places]
    found = spread(apart, loose, level=level)
    assert sorted(n for place in found for n in place) == sorted(
        {n for place in apart for n in place} | loose
    )
    if level:
        assert max(map(len, found)) <= -(-sum(map(len, found)) // len(found))
    else:
        assert all(set(before) <= set(after) for before, after in zip(apart, found, strict=True))
