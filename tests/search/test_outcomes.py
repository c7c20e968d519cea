"""What becomes of trials at a round's end."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.search.outcomes import Arrival, Verdict, explosion, in_warmup, judge
from loratune.search.pruners.kinds import pruner_of
from loratune.spaces.params import LoraParams
from loratune.study.pruners import PRUNERS

PARAMS = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16.0)


def arrival(trial: int, round_number: int, loss: float | None = 2.0, **given: object) -> Arrival:
    values = {"params": PARAMS, "diverged": None, **given}
    return Arrival(trial=trial, round=round_number, eval_loss=loss, **values)  # type: ignore[arg-type]


def verdicts(*arrivals: Arrival, others: int = 0, pruner: str = "halving") -> dict[int, Verdict]:
    """Judge arrivals among so many others with a loss of 1 at every rung."""
    rungs = {round_number: {1000 + other: 1.0 for other in range(others)} for round_number in (1, 2, 4, 8)}
    for one in arrivals:
        if one.round in rungs:
            rungs[one.round][one.trial] = math.inf if one.eval_loss is None else one.eval_loss
    found = judge(arrivals, rungs, base_loss=2.5, pruner=pruner_of(PRUNERS.parse(pruner)))
    return {verdict.trial: verdict for verdict in found}


def test_the_last_round_completes_a_trial_with_its_loss() -> None:
    assert verdicts(arrival(3, 8, 1.5), others=9) == {
        3: Verdict(trial=3, state="complete", reason=None, value=1.5)
    }


def test_a_trial_behind_its_peers_is_pruned_and_told_its_rank() -> None:
    found = verdicts(arrival(3, 2, 1.5), others=9)
    assert found[3].state == "pruned"
    assert found[3].reason == "eval loss 1.5000 was 10 of 10 after round 2"
    assert found[3].value is None


def test_a_trial_between_two_rungs_goes_on() -> None:
    assert not verdicts(arrival(3, 3, None), arrival(4, 7, None), others=9)


def test_a_trial_in_warmup_goes_on_until_the_next_rung() -> None:
    slow = dataclasses.replace(PARAMS, warmup_ratio=0.3)
    assert not verdicts(arrival(3, 2, 2.0, params=slow), others=9)
    assert verdicts(arrival(3, 4, 2.0, params=slow), others=9)[3].state == "pruned"


def test_the_trial_that_all_are_compared_with_is_never_stopped() -> None:
    assert not verdicts(arrival(0, 2, 2.0, never_stopped=True), others=9)


def test_a_trial_that_is_never_stopped_still_counts_among_its_peers() -> None:
    others = [arrival(trial, 2, float(trial)) for trial in range(1, 5)]
    assert set(verdicts(arrival(0, 2, 1.5, never_stopped=True), *others)) == {3, 4}
    assert set(verdicts(arrival(0, 2, 4.5, never_stopped=True), *others)) == {4}


def test_a_diverged_trial_keeps_the_workers_reason() -> None:
    found = verdicts(arrival(3, 5, None, diverged="the loss became NaN at example 384"))
    assert (found[3].state, found[3].reason) == ("diverged", "the loss became NaN at example 384")


def test_a_loss_that_is_not_finite_at_a_rung_is_divergence() -> None:
    assert verdicts(arrival(3, 8, None))[3].state == "diverged"
    assert "not finite after round 8" in str(verdicts(arrival(3, 8, None))[3].reason)


def test_an_exploded_loss_is_divergence_even_at_the_end() -> None:
    found = verdicts(arrival(3, 8, 7.0))
    assert found[3].state == "diverged"
    assert "above 4.803: ten times the base model's perplexity" in str(found[3].reason)


def test_a_loss_is_an_explosion_from_ten_times_the_base_models_perplexity() -> None:
    assert explosion(2.5 + 2.3, base_loss=2.5) is None
    assert explosion(2.5 + 2.31, base_loss=2.5)
    assert explosion(0.3, base_loss=0.1) is None


def test_nobody_is_pruned_without_a_pruner_but_divergence_still_ends() -> None:
    found = verdicts(arrival(3, 2, 2.0), arrival(4, 2, 50.0), others=9, pruner="none")
    assert {trial: verdict.state for trial, verdict in found.items()} == {4: "diverged"}


@given(
    st.lists(
        st.tuples(st.sampled_from([1, 2, 3, 4, 8]), st.one_of(st.none(), st.floats(0.5, 20.0))),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_arrivals_changes_nothing(
    given: list[tuple[int, float | None]], random: st.randoms
) -> None:
    arrivals = [arrival(trial, round_number, loss) for trial, (round_number, loss) in enumerate(given)]
    found = verdicts(*arrivals, others=5)
    random.shuffle(arrivals)
    assert verdicts(*arrivals, others=5) == found


@pytest.mark.parametrize(
    ("ratio", "round_number", "rising"), [(0.3, 2, True), (0.25, 2, False), (0.3, 4, False)]
)
def test_a_trial_is_in_warmup_while_its_learning_rate_rises(
    params: LoraParams, ratio: float, round_number: int, rising: bool
) -> None:
    assert in_warmup(dataclasses.replace(params, warmup_ratio=ratio), round_number) is rising
