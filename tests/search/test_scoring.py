"""A study that selects by a metric: trials are stopped by their loss, and the best goes by the metric."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from loratune.metrics.scoring import score_of
from loratune.objectives.testing.fake import FakePlan
from loratune.storage.store import Store
from loratune.study.facts import Answers
from loratune.study.ranking import ranked
from loratune.study.records import Evaluation

PLAN = FakePlan(slots=3)


def by_metric(bench, metric: str, **values):
    config = bench.config(**values)
    return dataclasses.replace(config, objective=dataclasses.replace(config.objective, metric=metric))


def ends(bench):
    return [(trial.state, trial.value, trial.params, trial.rounds) for trial in bench.trials()]


def test_the_best_and_the_adapters_kept_go_by_the_metric_and_all_else_by_the_loss(bench, new_bench) -> None:
    by_loss = new_bench()
    by_loss.create(16, by_loss.config(keep_adapters=2))
    by_loss.run(PLAN)
    bench.create(16, by_metric(bench, "token_accuracy", keep_adapters=2))
    outcome = bench.run(PLAN)
    trials = bench.trials()
    complete = [trial for trial in trials if trial.state == "complete"]
    assert len(complete) > 4
    assert ends(bench) == ends(by_loss)
    by_score = sorted(complete, key=lambda trial: (-trial.score, trial.value))
    assert by_score != sorted(complete, key=lambda trial: trial.value)
    assert outcome.best == by_score[0].number
    kept = {trial.number for trial in trials if trial.adapter is not None}
    assert kept == {trial.number for trial in by_score[:2]}
    with bench.store as store:
        evaluations = store.final_evaluations(store.study("a").id)
    for trial in trials:
        expected = evaluations[trial.number].token_accuracy if trial.state == "complete" else None
        assert trial.score == expected
    assert all(trial.score is None for trial in by_loss.trials())


def test_a_study_taken_up_again_knows_the_same_best(bench) -> None:
    bench.create(12, by_metric(bench, "token_accuracy", keep_adapters=2))
    bench.run(PLAN)
    first = {trial.number: trial.score for trial in bench.trials()}
    with Store.open(str(bench.path), mode="write") as store:
        store.set_trials(store.study("a").id, 18)
    outcome = bench.run(PLAN)
    again = bench.trials()
    assert {trial.number: trial.score for trial in again if trial.number < 12} == first
    assert outcome.best == ranked(again)[0].number


LABELLED = Answers(labels=("yes", "no", "maybe"), of_examples=(0, 1, 0, 2))
FOUND = Evaluation(
    losses=np.ones(4, np.float32),
    tokens=np.full(4, 2),
    correct=np.array([2, 1, 0, 2]),
    label_losses=np.array([[0.1, 1, 1], [0.2, 1, 1], [0.1, 1, 1], [1, 1, 0.1]], np.float32),
    marks=np.array([1, 0, 0.5, 0], np.float32),
)


@pytest.mark.parametrize(
    ("metric", "score"),
    [
        ("loss", None),
        ("token_accuracy", 5 / 8),
        ("accuracy", 3 / 4),
        # yes: 2/3 right of those predicted, all found; no: none; maybe: all.
        ("f1_macro", (0.8 + 0 + 1) / 3),
        ("exact_match", 3 / 8),
        ("rouge_l", 3 / 8),
    ],
)
def test_each_metric_is_what_its_name_says(metric: str, score: float | None) -> None:
    assert score_of(metric, FOUND, LABELLED) == (None if score is None else pytest.approx(score))
    bare = Evaluation(losses=FOUND.losses, tokens=FOUND.tokens)
    assert score_of(metric, bare, LABELLED) is None
    assert score_of(metric, None, LABELLED) is None
