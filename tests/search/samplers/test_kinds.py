"""What all samplers have in common."""

from __future__ import annotations

import math
import random

import pytest
from loratune.search.samplers import gp
from loratune.search.samplers.base import Past
from loratune.search.samplers.kinds import LAST_RESORT, propose, sampler_of
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.study.samplers import SAMPLERS, Gp, Random, SamplerSettings

SPACE = preset("tiny").space
EACH = pytest.mark.parametrize("settings", [kind() for kind in SAMPLERS.kinds], ids=str)


def bowl(params: LoraParams) -> float:
    """A loss that is least at a learning rate of 0.01 and rank 16."""
    return 1 + (math.log10(params.learning_rate) + 2) ** 2 + 0.1 * (4 - math.log2(params.lora_rank))


def asked(
    history: list[Past], settings: SamplerSettings, number: int, seed: int = 0, tries: int = 0
) -> tuple[LoraParams, str]:
    found = propose(SPACE, history, number=number, seed=seed, sampler=settings, tries=tries)
    assert found is not None
    return found


def grown(settings: SamplerSettings, count: int) -> list[Past]:
    """Run a study in the head, with trials of every state."""
    history: list[Past] = []
    for number in range(1, count + 1):
        params, _ = asked(history, settings, number)
        told = SPACE.encode(params)
        loss = bowl(params)
        match number % 5:
            case 1:
                history.append(Past(suggestion=told, state="pruned", curve={1: loss + 1, 2: loss + 0.5}))
            case 2 if number % 2:
                history.append(Past(suggestion=told, state="diverged"))
            case _:
                history.append(Past(suggestion=told, state="complete", value=loss, curve={8: loss}))
    return history


@EACH
def test_a_proposal_follows_from_history_number_and_seed_alone(settings: SamplerSettings) -> None:
    history = grown(settings, 14)
    random.seed(1)
    first = asked(history, settings, 15)
    asked(history, settings, 3, seed=9)
    random.seed(2)
    assert asked(history, settings, 15) == first
    assert asked(history, settings, 15, seed=1) != first


@EACH
def test_what_is_proposed_lies_in_the_space_and_is_news(settings: SamplerSettings) -> None:
    history = grown(settings, 16)
    told = [tuple(past.suggestion.items()) for past in history]
    assert len(set(told)) == len(told)


@EACH
def test_every_state_can_be_told(settings: SamplerSettings, params: LoraParams) -> None:
    point = SPACE.encode(SPACE.closest(params))
    history = grown(settings, 12)
    history += [
        Past(suggestion=point, state="running"),
        Past(suggestion=point, state="running", curve={1: 2.0}),
        Past(suggestion=point, state="pruned"),
        Past(suggestion=point, state="failed"),
        Past(suggestion=point, state="infeasible"),
        Past(suggestion=point, state="diverged", curve={1: 9.0}),
    ]
    proposed, source = asked(history, settings, 19)
    assert source == settings.name
    assert SPACE.encode(proposed)


@EACH
def test_after_many_duplicates_the_draw_is_uniform(settings: SamplerSettings) -> None:
    assert asked([], settings, 5, tries=LAST_RESORT) == asked([], Random(), 5, tries=LAST_RESORT)


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_whoever_goes_by_losses_ends_near_the_best_and_better_than_chance(name: str) -> None:
    def best(settings: SamplerSettings, seed: int) -> float:
        history: list[Past] = []
        for number in range(1, 26):
            params, _ = asked(history, settings, number, seed=seed)
            loss = bowl(params)
            history.append(
                Past(suggestion=SPACE.encode(params), state="complete", value=loss, curve={8: loss})
            )
        return sum(sorted(past.value or 0.0 for past in history)[:5])

    assert sum(best(SAMPLERS.parse(name), seed) < best(Random(), seed) for seed in range(4)) >= 3


def test_a_running_trial_moves_the_proposal_of_the_gaussian_process() -> None:
    history = grown(Gp(), 14)
    first, _ = asked(history, Gp(), 15)
    running = Past(suggestion=SPACE.encode(first), state="running")
    assert asked([*history, running], Gp(), 15)[0] != first


def test_without_scipy_the_gaussian_process_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gp.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(gp.UsageError, match=r"scipy is not installed; pip install 'loratune\[gp\]'"):
        sampler_of(Gp())


def test_the_random_sampler_needs_no_history() -> None:
    drawn = [asked([], Random(), number) for number in range(1, 5)]
    assert {source for _, source in drawn} == {"random"}
    assert len({params.learning_rate for params, _ in drawn}) == 4
