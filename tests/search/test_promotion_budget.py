"""What trials that wait may cost a search that was given examples in all, and how many end whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from loratune.objectives.testing.fake import FakePlan
from loratune.storage.store import Store
from loratune.study.ladder import Ladder, plan_ladder
from loratune.study.pruners import Promote
from loratune.study.waiting import leading, rung_losses

PLAN = FakePlan(slots=4)


def given_examples(bench: Any, examples: int) -> Ladder:
    """Make a study that is given so many examples for everything."""
    config = bench.config(pruner="promote")
    length = bench.facts(config).budget.examples
    ladder = plan_ladder(examples, trial=length, multiple=length)
    bench.create(ladder.most_trials(config.pruner), dataclasses.replace(config, ladder=ladder))
    return ladder


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("examples", [6_000, 30_000])
def test_what_is_paid_for_follows_from_the_record_also_where_the_search_is_killed(
    new_bench, examples: int, count: int
) -> None:
    found = []
    for crash in (None, 16, 33):
        given_examples(bench := new_bench(), examples)
        for nth in range(200):
            killed = None if crash is None else (crash + nth % 7, nth % 2 == 0)
            if bench.run(FakePlan(slots=2), count=count, deterministic=True, crash=killed) is not None:
                break
        found.append(bench.sequence())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("examples", [4_000, 10_000, 30_000, 100_000])
def test_what_the_search_may_take_is_never_exceeded_and_as_many_end_as_go_up(bench, examples: int) -> None:
    ladder = given_examples(bench, examples)
    facts, trials = bench.facts(bench.config()), ladder.most_trials(Promote())
    assert bench.run(PLAN).why == "complete"
    records = bench.trials()
    spent = sum(trial.rounds for trial in records) * facts.budget.round_examples
    assert spent <= ladder.searching
    complete = [trial.number for trial in records if trial.state == "complete" and trial.number]
    steps = ladder.planned(trials)
    assert len(complete) >= min(steps[0].count if steps else 1, len(records) - 1)
    assert spent >= 0.8 * ladder.searching


@pytest.mark.parametrize("examples", [4_000, 10_000, 30_000])
def test_the_best_of_a_rung_that_cannot_be_paid_for_is_stopped_with_that_for_a_reason(
    bench, examples: int
) -> None:
    given_examples(bench, examples)
    assert bench.run(PLAN).why == "complete"
    stopped = [trial for trial in bench.trials() if trial.state == "pruned"]
    with Store.open(str(bench.path), mode="read") as store:
        study = store.study(None)
        losses = rung_losses(store.curve(study.id))
    for trial in stopped:
        among = leading(losses[trial.rounds], 3)
        assert ("does not pay for its next rung" in trial.reason) == (trial.number in among)
