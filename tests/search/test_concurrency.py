"""Whether another trial may begin."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st
from loratune.search.concurrency import canonical, in_flight_limit, share_of_worker, twin_of
from loratune.spaces.params import LoraParams


@given(st.integers(1, 10_000))
def test_about_a_quarter_of_all_trials_is_in_flight(trials: int) -> None:
    assert max(1, trials / 4) <= in_flight_limit(trials) < trials / 4 + 1


@given(st.integers(1, 10_000), st.integers(2, 64))
def test_several_gpus_are_fed_up_to_half_of_all_trials(trials: int, gpus: int) -> None:
    limit = in_flight_limit(trials, gpus)
    assert limit >= in_flight_limit(trials)
    assert limit in (in_flight_limit(trials), 4 * gpus, (trials + 1) // 2)
    assert limit >= min(4 * gpus, trials / 2)


@given(st.integers(1, 64), st.integers(1, 200), st.integers(1, 8))
def test_workers_share_a_low_limit_and_never_exceed_their_slots(slots: int, limit: int, workers: int) -> None:
    share = share_of_worker(slots, limit, workers)
    assert 1 <= share <= slots
    assert share * workers >= min(limit, slots * workers)
    assert share < limit / workers + 1


def test_a_twin_is_found_whatever_the_spelling_of_its_targets(params: LoraParams) -> None:
    first = dataclasses.replace(params, lora_target="v_proj, q_proj")
    second = dataclasses.replace(params, lora_target="q_proj,v_proj")
    assert twin_of(second, {canonical(first): 7}) == 7
    assert twin_of(params, {canonical(first): 7}) is None
