"""Which trials are the best: complete ones, by loss or by a score, the earliest of equals."""

from __future__ import annotations

from loratune.storage.study_files import best_adapters
from loratune.study.ranking import best_trial, gains_nothing, ranked


def numbers(trials):
    return [trial.number for trial in trials]


def test_only_what_is_complete_is_ranked_the_least_loss_first(make_view, change_trial):
    view = make_view(5, states=dict.fromkeys(range(5), "complete") | {1: "pruned", 3: "running"})
    for number, value in ((0, 2.0), (2, 1.5), (4, 1.75)):
        view = change_trial(view, number, value=value)
    assert numbers(ranked(reversed(view.trials))) == [2, 4, 0]
    assert best_trial(view.trials).number == view.best().number == 2


def test_of_equals_the_earliest_is_best_in_whatever_order_they_come(make_view, change_trial):
    view = make_view(3, states=dict.fromkeys(range(3), "complete"))
    for number in range(3):
        view = change_trial(view, number, value=1.5)
    assert numbers(ranked(reversed(view.trials))) == [0, 1, 2]
    assert best_trial(reversed(view.trials)).number == 0
    assert best_adapters(view.trials, 2) == {0, 1}
    assert best_adapters(view.trials, -1) == frozenset()


def test_there_is_none_before_one_is_complete(make_view):
    assert best_trial(make_view(2, states={0: "pruned", 1: "running"}).trials) is None
    assert best_trial(()) is None


def test_by_a_score_more_is_better_then_the_loss_then_the_number(make_view, change_trial):
    view = make_view(6, states=dict.fromkeys(range(6), "complete") | {5: "pruned"})
    scores = {0: (0.5, 1.0), 1: (0.9, 2.0), 2: (0.9, 1.5), 3: (None, 0.1), 4: (0.9, 1.5)}
    for number, (score, value) in scores.items():
        view = change_trial(view, number, score=score, value=value)
    assert numbers(ranked(reversed(view.trials))) == [2, 4, 1, 0, 3]
    assert view.best().number == 2
    assert best_adapters(view.trials, 3) == {1, 2, 4}


def test_what_is_gained_over_the_base_model_goes_by_the_metric_where_both_have_one():
    assert gains_nothing(1.0, 1.0)
    assert not gains_nothing(0.9, 1.0)
    # A worse loss with more right labels is a gain, and a better one with fewer is none.
    assert not gains_nothing(1.2, 1.0, 0.8, 0.5)
    assert gains_nothing(0.8, 1.0, 0.4, 0.5)
    assert not gains_nothing(0.8, 1.0, 0.5, 0.5)
    assert gains_nothing(1.0, 1.0, 0.5, 0.5)
    assert not gains_nothing(0.8, 1.0, 0.4, None)
