"""What is tried next."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pytest
from loratune.search.samplers import LEAST_FINISHED, STARTUP, Past, propose
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.spaces.space import Dimension, SearchSpace

SPACE = preset("tiny").space


def bowl(params: LoraParams) -> float:
    """A loss that is least at a learning rate of 0.01 and rank 16."""
    return 1 + (math.log10(params.learning_rate) + 2) ** 2 + 0.1 * (4 - math.log2(params.lora_rank))


def grown(count: int, seed: int = 0, sampler: str = "tpe") -> list[tuple[LoraParams, str]]:
    """Run a study of complete trials in the head."""
    found: list[tuple[LoraParams, str]] = []
    history: list[Past] = []
    for number in range(1, count + 1):
        params, source = propose(SPACE, history, number=number, seed=seed, sampler=sampler)  # type: ignore[arg-type]
        found.append((params, source))
        history.append(past(params))
    return found


def past(params: LoraParams, state: str = "complete", **given: object) -> Past:
    values = {"value": bowl(params) if state == "complete" else None, "curve": {2: bowl(params)}, **given}
    return Past(suggestion=SPACE.encode(params), state=state, **values)  # type: ignore[arg-type]


def test_a_seed_proposes_the_same_again() -> None:
    assert grown(18, seed=3) == grown(18, seed=3)
    assert grown(3, seed=3) != grown(3, seed=4)


def test_the_start_visits_each_tenth_of_a_range_once() -> None:
    start = grown(STARTUP)
    assert {source for _, source in start} == {"startup"}
    low, high = math.log(3e-4), math.log(1e-1)
    tenths = {int(10 * (math.log(params.learning_rate) - low) / (high - low)) for params, _ in start}
    assert tenths == set(range(10))
    assert {params.batch_size for params, _ in start} == {4, 8, 16, 32}


def test_the_start_does_not_depend_on_what_became_of_earlier_trials() -> None:
    params = preset("tiny").default
    alone, _ = propose(SPACE, [], number=5, seed=0, sampler="tpe")
    after, _ = propose(SPACE, [past(params)] * 8, number=5, seed=0, sampler="tpe")
    assert alone == after


def test_tpe_follows_the_start_and_finds_the_valley() -> None:
    found = grown(40)
    assert [source for _, source in found[STARTUP:]] == ["tpe"] * 30
    errors = [abs(math.log10(params.learning_rate) + 2) for params, _ in found]
    assert sum(errors[-15:]) / 15 < 0.6 * sum(errors[:STARTUP]) / STARTUP


def test_tpe_is_not_asked_before_enough_has_ended() -> None:
    history = [past(params, "running") for params, _ in grown(12)]
    assert propose(SPACE, history, number=13, seed=0, sampler="tpe")[1] == "startup"
    history[:LEAST_FINISHED] = [past(params) for params, _ in grown(LEAST_FINISHED)]
    assert propose(SPACE, history, number=13, seed=0, sampler="tpe")[1] == "tpe"


def test_a_running_trial_moves_the_next_proposal() -> None:
    history = [past(params) for params, _ in grown(14)]
    first, _ = propose(SPACE, history, number=15, seed=0, sampler="tpe")
    again, _ = propose(SPACE, [*history, past(first, "running")], number=15, seed=0, sampler="tpe")
    assert again != first


def over_the_cliff(state: str | None) -> int:
    """Run a study whose slope leads to a cliff; count who fell among the last 20, each told as ``state``."""
    history: list[Past] = []
    fallen = 0
    for number in range(1, 41):
        params, _ = propose(SPACE, history, number=number, seed=0, sampler="tpe")
        value = 1 - math.log10(params.learning_rate)
        fell = params.learning_rate > math.sqrt(3e-4 * 1e-1)
        fallen += fell and number > 20
        if not fell:
            history.append(past(params, value=value, curve={8: value}))
        elif state is not None:
            history.append(past(params, state, curve={}))
    return fallen


@pytest.mark.parametrize("state", ["diverged", "infeasible", "failed"])
def test_what_broke_down_is_avoided(state: str) -> None:
    assert 3 * over_the_cliff(state) < 2 * over_the_cliff(None)


def test_every_state_can_be_told(params: LoraParams) -> None:
    inside = SPACE.closest(params)
    history: Sequence[Past] = [
        past(inside),
        past(inside, "pruned"),
        past(inside, "pruned", curve={}),
        past(inside, "diverged", curve={}),
        past(inside, "infeasible", curve={}),
        past(inside, "failed", curve={1: 3.0}),
        past(inside, "running", curve={}),
    ]
    proposed, source = propose(SPACE, history, number=20, seed=0, sampler="tpe")
    assert source == "tpe"
    assert SPACE.encode(proposed)


def test_a_duplicate_leads_to_another_try() -> None:
    history = [past(params) for params, _ in grown(14)]
    tries = {
        propose(SPACE, history, number=15, seed=0, sampler="tpe", tries=tries)[0].learning_rate
        for tries in range(4)
    }
    assert len(tries) == 4


def test_after_many_duplicates_every_untried_configuration_has_its_chance() -> None:
    few = SearchSpace(
        dimensions=(
            Dimension(name="learning_rate", choices=(1e-3, 1e-2)),
            Dimension(name="batch_size", choices=(8,)),
            Dimension(name="lora_rank", choices=(4, 8, 16)),
            Dimension(name="lora_alpha_ratio", choices=(2.0,)),
        )
    )
    drawn = [propose(few, [], number=30, seed=0, sampler="tpe", tries=tries) for tries in range(10, 60)]
    assert {source for _, source in drawn} == {"random"}
    assert len({params for params, _ in drawn}) == 6


def test_the_random_sampler_needs_no_history() -> None:
    assert {source for _, source in grown(4, sampler="random")} == {"random"}
    assert len({params.learning_rate for params, _ in grown(4, sampler="random")}) == 4


def test_a_space_of_one_configuration_proposes_it() -> None:
    fixed = SearchSpace(
        dimensions=tuple(
            dataclasses.replace(d, low=None, high=None, log=False, choices=(d.closest(8.0),))
            for d in SPACE.dimensions
            if d.name not in ("lr_scheduler_type", "lora_target")
        )
    )
    assert propose(fixed, [], number=3, seed=0, sampler="tpe")[0].batch_size == 8


def test_words_and_plain_ranges_are_proposed_too() -> None:
    wide = SPACE.replace(
        Dimension(name="lora_target", choices=("all", "q_proj,v_proj")),
        Dimension(name="lora_dropout", low=0.0, high=0.2),
    )
    history: list[Past] = []
    seen = set()
    for number in range(1, 17):
        params, _ = propose(wide, history, number=number, seed=0, sampler="tpe")
        seen.add(params.lora_target)
        assert 0 <= params.lora_dropout <= 0.2
        history.append(Past(suggestion=wide.encode(params), state="complete", value=bowl(params)))
    assert seen == {"all", "q_proj,v_proj"}
