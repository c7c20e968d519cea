"""What is tried next."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from loratune.search.samplers.base import Past
from loratune.search.samplers.kinds import propose
from loratune.search.samplers.optuna_study import GOOD, remembered
from loratune.spaces.categories import Categories
from loratune.spaces.choices import Choices
from loratune.spaces.dimensions import listed
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.spaces.range import Range
from loratune.spaces.space import SearchSpace
from loratune.study.samplers import Tpe
from optuna.trial import TrialState

SPACE = preset("tiny").space
STARTUP, LEAST_FINISHED, REMEMBERED = Tpe().startup, Tpe().finished, Tpe().remembered


def bowl(params: LoraParams) -> float:
    """A loss that is least at a learning rate of 0.01 and rank 16."""
    return 1 + (math.log10(params.learning_rate) + 2) ** 2 + 0.1 * (4 - math.log2(params.lora_rank))


def grown(count: int, seed: int = 0) -> list[tuple[LoraParams, str]]:
    """Run a study of complete trials in the head."""
    found: list[tuple[LoraParams, str]] = []
    history: list[Past] = []
    for number in range(1, count + 1):
        params, source = propose(SPACE, history, number=number, seed=seed, sampler=Tpe())
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
    alone, _ = propose(SPACE, [], number=5, seed=0, sampler=Tpe())
    after, _ = propose(SPACE, [past(params)] * 8, number=5, seed=0, sampler=Tpe())
    assert alone == after


def test_tpe_follows_the_start_and_finds_the_valley() -> None:
    found = grown(40)
    assert [source for _, source in found[STARTUP:]] == ["tpe"] * 30
    errors = [abs(math.log10(params.learning_rate) + 2) for params, _ in found]
    assert sum(errors[-15:]) / 15 < 0.6 * sum(errors[:STARTUP]) / STARTUP


def test_tpe_is_not_asked_before_enough_has_ended() -> None:
    history = [past(params, "running") for params, _ in grown(12)]
    assert propose(SPACE, history, number=13, seed=0, sampler=Tpe())[1] == "startup"
    history[:LEAST_FINISHED] = [past(params) for params, _ in grown(LEAST_FINISHED)]
    assert propose(SPACE, history, number=13, seed=0, sampler=Tpe())[1] == "tpe"


def test_a_running_trial_moves_the_next_proposal() -> None:
    history = [past(params) for params, _ in grown(14)]
    first, _ = propose(SPACE, history, number=15, seed=0, sampler=Tpe())
    again, _ = propose(SPACE, [*history, past(first, "running")], number=15, seed=0, sampler=Tpe())
    assert again != first


def test_running_trials_count_as_bad_whatever_optunas_default_is(monkeypatch) -> None:
    history = [past(params) for params, _ in grown(14)]
    first, _ = propose(SPACE, history, number=15, seed=0, sampler=Tpe())
    history.append(past(first, "running"))
    before = propose(SPACE, history, number=15, seed=0, sampler=Tpe())
    defaults = inspect.unwrap(optuna.samplers.TPESampler.__init__).__kwdefaults__
    assert defaults["constant_liar"] is True  # else this would show less
    monkeypatch.setitem(defaults, "constant_liar", False)
    assert propose(SPACE, history, number=15, seed=0, sampler=Tpe()) == before


def over_the_cliff(state: str | None) -> int:
    """Run a study whose slope leads to a cliff; count who fell among the last 20, each told as ``state``."""
    history: list[Past] = []
    fallen = 0
    for number in range(1, 41):
        params, _ = propose(SPACE, history, number=number, seed=0, sampler=Tpe())
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
    proposed, source = propose(SPACE, history, number=20, seed=0, sampler=Tpe())
    assert source == "tpe"
    assert SPACE.encode(proposed)


def test_a_duplicate_leads_to_another_try() -> None:
    history = [past(params) for params, _ in grown(14)]
    tries = {
        propose(SPACE, history, number=15, seed=0, sampler=Tpe(), tries=tries)[0].learning_rate
        for tries in range(4)
    }
    assert len(tries) == 4


def test_after_many_duplicates_every_untried_configuration_has_its_chance() -> None:
    few = SearchSpace(
        dimensions=(
            Choices(name="learning_rate", choices=(1e-3, 1e-2)),
            Choices(name="batch_size", choices=(8,)),
            Choices(name="lora_rank", choices=(4, 8, 16)),
            Choices(name="lora_alpha_ratio", choices=(2.0,)),
        )
    )
    drawn = [propose(few, [], number=30, seed=0, sampler=Tpe(), tries=tries) for tries in range(10, 60)]
    assert {source for _, source in drawn} == {"random"}
    assert len({params for params, _ in drawn}) == 6


def test_a_space_of_one_configuration_proposes_it() -> None:
    fixed = SearchSpace(
        dimensions=tuple(
            listed(d.name, (d.closest(8.0),))
            for d in SPACE.dimensions
            if d.name not in ("lr_scheduler_type", "lora_target")
        )
    )
    assert propose(fixed, [], number=3, seed=0, sampler=Tpe())[0].batch_size == 8


def test_words_and_plain_ranges_are_proposed_too() -> None:
    wide = SPACE.replace(
        Categories(name="lora_target", choices=("all", "q_proj,v_proj")),
        Range(name="lora_dropout", low=0.0, high=0.2),
    )
    history: list[Past] = []
    seen = set()
    for number in range(1, 17):
        params, _ = propose(wide, history, number=number, seed=0, sampler=Tpe())
        seen.add(params.lora_target)
        assert 0 <= params.lora_dropout <= 0.2
        history.append(Past(suggestion=wide.encode(params), state="complete", value=bowl(params)))
    assert seen == {"all", "q_proj,v_proj"}


def long_history(count: int) -> list[Past]:
    """Trials of every state, the best among them spread over all ages."""
    space = SPACE.encode(preset("tiny").default)
    found = []
    for number in range(count):
        loss = 1 + (number * 7919 % count) / count
        if number % 5 == 1:
            found.append(Past(suggestion=space, state="pruned", curve={2: loss}))
        elif number % 5 == 2:
            found.append(Past(suggestion=space, state="diverged", curve={1: loss}))
        elif number % 50 == 3:
            found.append(Past(suggestion=space, state="running"))
        else:
            found.append(Past(suggestion=space, state="complete", value=loss, curve={8: loss}))
    return found


def test_a_history_up_to_the_bound_is_remembered_whole() -> None:
    history = long_history(REMEMBERED)
    assert list(remembered(history, REMEMBERED)) == history


def test_of_a_longer_history_the_best_the_running_and_the_latest_are_remembered_in_order() -> None:
    history = long_history(3 * REMEMBERED)
    places = {id(past): at for at, past in enumerate(history)}
    kept = [places[id(past)] for past in remembered(history, REMEMBERED)]
    assert len(kept) == REMEMBERED
    assert kept == sorted(kept)
    complete = sorted(at for at, past in enumerate(history) if past.state == "complete")
    best = sorted(complete, key=lambda at: history[at].value or 0.0)[:GOOD]
    running = {at for at, past in enumerate(history) if past.state == "running"}
    assert set(best) | running <= set(kept)
    others = [at for at in kept if at not in running and at not in best]
    latest = [at for at in range(len(history)) if at not in running and at not in best]
    assert others == latest[-len(others) :]


def test_without_complete_trials_those_stopped_last_count_as_the_best() -> None:
    space = SPACE.encode(preset("tiny").default)
    late = Past(suggestion=space, state="pruned", curve={2: 1.0, 4: 9.0})
    early = Past(suggestion=space, state="pruned", curve={2: 1.0})
    broken = Past(suggestion=space, state="diverged", curve={1: 0.5})
    assert sorted([broken, early, late], key=lambda past: past.rank) == [late, early, broken]


def test_what_tpe_takes_for_good_is_the_same_as_in_the_whole_history(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[float]] = []
    split = optuna.samplers._tpe.sampler._split_trials

    def splitting(*args: object) -> object:
        below, above = split(*args)  # type: ignore[arg-type]
        taken.append([trial.value for trial in below])
        return below, above

    monkeypatch.setattr(optuna.samplers._tpe.sampler, "_split_trials", splitting)
    history = long_history(3 * REMEMBERED)
    propose(SPACE, history, number=len(history), seed=0, sampler=Tpe())
    propose(SPACE, history, number=len(history), seed=0, sampler=Tpe(remembered=len(history)))
    assert len(taken[0]) == GOOD
    assert taken[0] == taken[1]


def test_a_history_told_to_optuna_one_by_one_leads_to_the_same_proposal() -> None:
    history = [past(params) for params, _ in grown(14)]
    history += [past(history_params, "running") for history_params, _ in grown(2, seed=9)]
    seed = int(np.random.SeedSequence((0, 16, 0)).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=0)
    study = optuna.create_study(sampler=sampler)
    distributions = SPACE.distributions()
    for one in history:
        study.add_trial(
            optuna.create_trial(
                params=dict(one.suggestion),
                distributions=distributions,
                value=one.value,
                intermediate_values=dict(one.curve),
                state=TrialState.COMPLETE if one.state == "complete" else TrialState.RUNNING,
            )
        )
    asked = study.ask(fixed_distributions=distributions).params
    assert propose(SPACE, history, number=16, seed=0, sampler=Tpe()) == (SPACE.decode(asked), "tpe")
