"""The curves of a study: all losses of one on the same examples, and every trial counted once."""

import dataclasses

import numpy as np
import pytest
from loratune.reports.curve_counts import curve_counts, curve_of, reading_of
from loratune.reports.page import render
from loratune.study.records import Evaluation


def test_every_trial_with_a_round_is_counted_once(view):
    found = curve_counts(view)
    assert sum(found.counts.values()) == sum(trial.rounds > 0 for trial in view.trials)
    assert found.counts["diverged"] == sum(trial.state == "diverged" for trial in view.trials)
    assert found.best == reading_of(view, view.best())
    assert found.words.startswith("Their curves, read by fixed rules: ")


def test_the_last_loss_is_taken_over_the_examples_of_the_earlier_ones(view):
    best, size = view.best(), view.budget.eval_examples
    known = view.evaluations[best.number]
    # The examples after the first ones are twice as hard: on all of them the loss would seem to rise.
    losses = np.concatenate([known.losses[:size], 2 * known.losses[size:]])
    harder = Evaluation(losses=losses, tokens=known.tokens)
    curve = curve_of(dataclasses.replace(view, evaluations={best.number: harder}), best)
    assert curve.evals[8] == pytest.approx(known.losses[:size].sum() / known.tokens[:size].sum())
    assert curve.evals[4] == view.eval_at(best.number, 4)
    base = view.base_evaluation
    assert curve.base == pytest.approx(base.losses[:size].sum() / base.tokens[:size].sum())


def test_a_trial_that_waits_for_its_first_round_is_not_read(make_view):
    view = make_view(3, states={2: "infeasible"})
    assert reading_of(view, view.trials[2]) is None
    assert sum(curve_counts(view).counts.values()) == 2


def test_a_study_without_a_trial_says_nothing_of_curves(make_view):
    found = curve_counts(make_view(0))
    assert (found.best, found.words) == (None, None)


def test_the_report_reads_the_best_curve_and_counts_all(view):
    page = render(view)
    found = curve_counts(view)
    assert found.words in page
    assert found.best.sentence in page
