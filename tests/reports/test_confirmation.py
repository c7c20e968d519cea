"""The verdict over several seeds: who is tied with the best, who is recommended, what the test set says."""

import dataclasses

import numpy as np
import pytest
from loratune.metrics.scoring import score_of
from loratune.reports.confirm_table import header, row_of
from loratune.reports.confirm_words import headline, sentences, warnings
from loratune.reports.confirmation import comparison_level, confirmation, recommended, spread
from loratune.reports.student import t_quantile
from loratune.reports.verdict import verdict
from loratune.study.facts import Answers
from loratune.study.metric import METRICS
from loratune.study.records import Evaluation
from made_up_confirmations import DEFAULT, draw, make_confirmation, make_opening, params

TRIALS = (7, 3, 0)
CONFIGURATIONS = (params(16), params(4), DEFAULT)


def confirmed(means, *, seed_noise=0.02, seeds=5, seed=0, configurations=CONFIGURATIONS, **more):
    rng = np.random.default_rng(seed)
    losses = draw(rng, means, seeds=seeds, examples=150, seed_noise=seed_noise, example_noise=0.02)
    trials = more.pop("trials", TRIALS)
    return make_confirmation(losses, trials=trials, configurations=configurations, **more)


def test_each_configuration_has_its_losses_under_every_seed():
    view = confirmed((1.0, 1.1, 1.5), searched={7: 0.9, 3: 0.95, 0: 1.4})
    found = confirmation(view)
    assert (found.seeds, found.ended, found.wanted, found.over) == ((0, 1, 2, 3, 4), 15, 15, True)
    first = found.of(7)
    assert first.entries == (0, 3, 6, 9, 12)
    assert first.losses == tuple(view.trials[number].value for number in first.entries)
    assert first.mean.value == pytest.approx(np.mean(first.losses))
    assert (first.searched, first.weights, first.steps) == (0.9, 1600, 192)
    assert [one.default for one in found.configurations] == [False, False, True]


def test_a_clear_winner_is_recommended_though_it_costs_more():
    found = confirmation(confirmed((1.0, 1.2, 1.5)))
    assert (found.best, found.recommended) == (7, 7)
    assert [one.tied for one in found.configurations] == [True, False, False]
    assert found.of(3).difference.low > 0
    assert "Trial 7 is recommended: mean loss 1.0" in headline(found)
    assert sentences(found)[0] == "It is better than each of the 2 others."
    two = confirmation(confirmed((1.0, 1.2), trials=(7, 3), configurations=CONFIGURATIONS[:2]))
    assert sentences(two)[0] == "It is better than the other one."


def test_of_those_that_cannot_be_told_apart_the_cheapest_is_recommended():
    found = confirmation(confirmed((1.0, 1.001, 1.5), seed_noise=0.05))
    assert {one.trial for one in found.configurations if one.tied} == {7, 3}
    assert found.recommended == 3
    assert found.of(3).weights < found.of(7).weights
    assert "it has the fewest weights to train" in sentences(found)[0]
    rows = [row_of(found, one) for one in found.configurations]
    assert sorted(row.says for row in rows) == ["default", "recommended", "tied"]


def test_of_as_many_weights_the_fewest_steps_are_the_cheapest():
    same = (params(4, batch_size=8), params(4, batch_size=32), DEFAULT)
    found = confirmation(confirmed((1.0, 1.0, 1.5), seed_noise=0.05, configurations=same))
    assert found.recommended == 3
    assert "takes the fewest steps" in sentences(found)[0]
    equal = (params(4), params(4, rate=1e-3), DEFAULT)
    found = confirmation(confirmed((1.0, 1.0, 1.5), seed_noise=0.05, configurations=equal))
    assert found.recommended == found.best
    assert "cost the same" in sentences(found)[0]


def test_what_an_interval_of_two_seeds_is_worth_is_said():
    two, three = (
        " ".join(sentences(confirmation(confirmed((1.0, 1.2, 1.5), seeds=count)))) for count in (2, 3)
    )
    assert "on these examples; of two it reaches 12.7 standard errors to each side, and says little" in two
    assert "on these examples. A difference" in three


def test_the_truly_best_is_among_the_tied_in_95_of_100_though_the_best_is_picked():
    lost = 0
    for seed in range(300):
        view = confirmed(
            (1.0,) * 6,
            seed=seed,
            seed_noise=0.03,
            trials=(1, 2, 3, 4, 5, 0),
            configurations=(*(params(8, rate=n / 1000) for n in range(2, 7)), DEFAULT),
        )
        # All are as good: whichever is called the best one, each that is told apart from it is an error.
        found = confirmation(view)
        lost += not found.of(1).tied
    assert lost / 300 <= 0.05


def test_more_comparisons_ask_for_more_certainty():
    levels = [comparison_level(others) for others in (1, 2, 5, 20)]
    assert levels == [pytest.approx(level) for level in (0.9, 0.95, 0.98, 0.995)]
    assert comparison_level(0) == comparison_level(1)


def test_one_that_diverged_under_a_seed_is_not_recommended_and_says_so():
    rng = np.random.default_rng(0)
    losses = draw(rng, (1.0, 1.2, 1.5), seeds=3, examples=100, seed_noise=0.01)
    losses[0][1] = None
    found = confirmation(make_confirmation(losses, trials=TRIALS, configurations=CONFIGURATIONS))
    assert (found.best, found.recommended) == (3, 3)
    assert found.configurations[-1].trial == 7
    assert found.of(7).lost == "diverged under seed 1"
    assert any(
        "Trial 7 cannot be judged: it ended as diverged under seed 1" in one for one in sentences(found)
    )


def test_where_none_came_through_nothing_is_recommended():
    rng = np.random.default_rng(0)
    losses = draw(rng, (1.0, 1.2, 1.5), seeds=2, examples=100, seed_noise=0.01)
    for one in losses:
        one[1] = None
    found = confirmation(make_confirmation(losses, trials=TRIALS, configurations=CONFIGURATIONS))
    assert (found.best, found.recommended, found.spread) == (None, None, None)
    assert "nothing to recommend" in headline(found)


def test_before_all_have_ended_there_is_no_verdict():
    found = confirmation(confirmed((1.0, 1.2, 1.5), ended=7))
    assert (found.over, found.best, found.recommended, found.spread) == (False, None, None, None)
    assert headline(found).startswith("The confirmation was interrupted after 7 of 15 trials")
    assert "tune resume demo.confirm" in headline(found)
    live = confirmation(confirmed((1.0, 1.2, 1.5), ended=7, live=True))
    assert headline(live) == "7 of 15 trials of the confirmation have ended."
    assert sentences(live) == ()


def test_the_searchs_value_of_its_winner_is_told_beside_the_confirmed_one():
    found = confirmation(confirmed((1.0, 1.2, 1.5), searched={7: 0.9, 3: 1.1, 0: 1.4}))
    mean = found.of(7).mean.value
    (said,) = (one for one in sentences(found) if one.startswith("The search had trial 7"))
    assert (
        f"with 0.9000 under one seed on its own examples; over 5 seeds on all of them it has {mean:.4f}"
        in said
    )
    assert f"{mean - 0.9:.4f} of what the search showed came from the seed" in said


def test_one_seed_ties_by_examples_alone_and_says_that_it_knows_no_more():
    found = confirmation(confirmed((1.0, 1.2, 1.5), seeds=1))
    assert found.of(7).mean.low is None
    assert found.spread is None
    assert found.of(3).difference.low > 0
    assert "With one seed nothing is known of its luck" in sentences(found)[-1]


@pytest.mark.parametrize(
    ("seed_noise", "means", "said"),
    [
        (0.001, (1.0, 1.2, 1.5), "LoRA is stable across seeds here"),
        (0.1, (1.0, 1.0, 1.0), "not stable across seeds here"),
    ],
)
def test_how_stable_lora_is_across_seeds_is_said_as_measured(seed_noise, means, said):
    found = confirmation(confirmed(means, seed_noise=seed_noise, seeds=8))
    assert any(said in one for one in sentences(found))
    assert found.spread.seeds == pytest.approx(seed_noise, rel=0.8, abs=0.01)


def test_the_spread_of_configurations_is_without_what_seeds_make_of_it():
    rng = np.random.default_rng(0)
    seeds, between = [], []
    for _ in range(300):
        means = rng.normal(0, 0.2, 10)
        found = spread([list(mean + rng.normal(0, 0.1, 4)) for mean in means])
        seeds.append(found.seeds**2)
        between.append(found.configurations**2)
    assert np.mean(seeds) == pytest.approx(0.01, rel=0.05)
    assert np.mean(between) == pytest.approx(0.04, rel=0.08)
    assert spread([[1.0, 2.0]]) is None
    assert spread([[1.0], [2.0]]) is None


def opened(view, means, *, opened=1, examples=80, trials=(7, 0), seed=9):
    rng = np.random.default_rng(seed)
    test = draw(rng, means, seeds=5, examples=examples, seed_noise=0.01, example_noise=0.02)
    opening = make_opening(view, test, trials, opened)
    return dataclasses.replace(view, openings=(*view.openings, opening)), test


def test_the_test_set_is_told_with_its_paired_interval():
    view, test = opened(confirmed((1.0, 1.2, 1.5)), (1.1, 1.6))
    found = confirmation(view)
    tested = found.tested
    assert (tested.trial, tested.opened, tested.examples, tested.disagrees) == (7, 1, 80, False)
    assert tested.mean.value == pytest.approx(np.mean([one.loss for one in test[0]]))
    assert tested.default.value == pytest.approx(np.mean([one.loss for one in test[1]]))
    assert tested.difference.value == pytest.approx(tested.default.value - tested.mean.value)
    assert tested.difference.low > 0
    assert any("The test set of 80 examples was opened once, on 2026" in one for one in sentences(found))
    assert warnings(found) == ()


def test_a_second_opening_is_counted():
    view, _ = opened(confirmed((1.0, 1.2, 1.5)), (1.1, 1.6), opened=2)
    assert any("was opened 2 times, last on" in one for one in sentences(confirmation(view)))


def test_where_validation_and_test_disagree_there_is_a_warning():
    view, _ = opened(confirmed((1.0, 1.2, 1.5)), (1.6, 1.1))
    found = confirmation(view)
    assert found.tested.disagrees
    (said,) = warnings(found)
    assert "validation and test disagree" in said
    assert "the default is better than trial 7" in said


def test_a_small_test_set_is_warned_of():
    view, _ = opened(confirmed((1.0, 1.2, 1.5)), (1.1, 1.6), examples=29)
    (said,) = warnings(confirmation(view))
    assert "only 29 examples" in said
    view, _ = opened(confirmed((1.0, 1.2, 1.5)), (1.1, 1.6), examples=30)
    assert warnings(confirmation(view)) == ()


def test_where_the_default_itself_is_recommended_it_is_compared_with_nothing():
    view = confirmed((1.5, 1.2, 1.0))
    found = confirmation(view)
    assert (found.recommended, found.default_difference) == (0, None)
    view, _ = opened(view, (1.1,), trials=(0,))
    tested = confirmation(view).tested
    assert (tested.trial, tested.default, tested.difference, tested.disagrees) == (0, None, None, False)


def test_train_and_export_are_told_what_the_last_confirmation_recommends(view):
    first, last = confirmed((1.0, 1.2, 1.5)), confirmed((1.5, 1.2, 1.0))
    begun = confirmed((1.0, 1.2, 1.5), ended=7)
    searched = view.study
    assert recommended((), searched) is None
    assert recommended((begun,), searched) is None
    assert recommended((first, last, begun), searched) == (0, last)
    # In the confirming study it is the trial under the first seed: the default is the third of them.
    own = dataclasses.replace(last, study=dataclasses.replace(last.study, id=9))
    assert recommended((own,), own.study) == (2, own)


def test_a_searchs_verdict_says_what_its_confirmation_recommends(view):
    last = confirmed((1.5, 1.2, 1.0))
    found = verdict(dataclasses.replace(view, confirmations=(last,)))
    says = f"{last.study.name} recommends " + ("it." if found.number == 0 else "trial 0.")
    assert found.sentences[0] == says
    other = dataclasses.replace(view, confirmations=(confirmed((1.0, 1.2, 1.5), ended=7),))
    assert not any("recommends" in sentence for sentence in verdict(other).sentences)
    own = dataclasses.replace(last, study=dataclasses.replace(last.study, id=view.study.id))
    assert verdict(dataclasses.replace(view, confirmations=(own,))).recommended is None


LABELS = Answers(labels=("yes", "no"), of_examples=tuple(place % 2 for place in range(200)))


def labelled(rng, right, *, size=200):
    """A study's evaluation in which that share of the labels, of either kind, is the likeliest one."""
    places = np.asarray(LABELS.of_examples[:size])
    found = np.where(rng.random(size) < right, places, 1 - places)
    losses = np.where(np.arange(2) == found[:, None], 0.1, 1.0).astype(np.float32)
    # The better its labels, the worse its loss here: what is judged by the loss comes out the other way.
    return Evaluation(
        losses=np.full(size, 10 * right, np.float32) + rng.normal(0, 0.01, size).astype(np.float32),
        tokens=np.full(size, 10, np.int64),
        correct=(found == places).astype(np.int64) * 9,
        label_losses=losses,
        marks=(found == places).astype(np.float32),
    )


def by_metric(metric, shares, *, seeds=5, seed=0, tested=None, scores=True, **more):
    """A confirmation whose study selects by a metric, and which was opened on the test set if asked for."""
    rng = np.random.default_rng(seed)
    measured = [[labelled(rng, share) for _ in range(seeds)] for share in shares]
    view = make_confirmation(measured, trials=TRIALS, configurations=CONFIGURATIONS, **more)
    config = view.study.config
    study = dataclasses.replace(
        view.study,
        config=dataclasses.replace(config, objective=dataclasses.replace(config.objective, metric=metric)),
        facts=dataclasses.replace(view.study.facts, answers=LABELS),
    )
    trials = tuple(
        dataclasses.replace(one, score=score_of(metric, view.evaluations[one.number], LABELS))
        for one in view.trials
    )
    view = dataclasses.replace(view, study=study, trials=trials)
    if tested is None:
        return view
    found = [[labelled(rng, share) for _ in range(seeds)] for share in tested]
    opening = make_opening(view, found, (7, 0))
    told = {number: score_of(metric, one, LABELS) for number, one in opening.evaluations.items()}
    opening = dataclasses.replace(opening, answers=LABELS, scores=told if scores else {})
    return dataclasses.replace(view, openings=(opening,))


EACH = ("token_accuracy", "accuracy", "f1_macro", "exact_match", "rouge_l")


@pytest.mark.parametrize("metric", EACH)
def test_a_study_that_selects_by_a_metric_is_judged_by_it_and_more_is_better(metric):
    found = confirmation(by_metric(metric, (0.95, 0.8, 0.6), searched={7: 1.0, 3: 0.5, 0: 0.2}))
    assert (found.metric, found.best, found.recommended) == (metric, 7, 7)
    assert [one.trial for one in found.configurations] == [7, 3, 0]
    assert [one.tied for one in found.configurations] == [True, False, False]
    first, second, _ = found.configurations
    assert first.mean.value == pytest.approx(np.mean(first.scores))
    assert first.mean.value > second.mean.value
    # Judged by the loss it is the other way round, as the losses were made.
    assert first.mean_loss > second.mean_loss
    assert second.difference.value == pytest.approx(first.mean.value - second.mean.value, abs=1e-6)
    assert second.difference.low > 0
    words = METRICS[metric].words
    assert f"Trial 7 is recommended: mean {words} {first.mean.value:.4f}" in headline(found)
    assert first.mean.high <= 1
    said = " ".join(sentences(found))
    assert f"judged by {words}, of which more is better" in said
    default = found.of(0).mean.value
    assert f"The default has {default:.4f}, which is {first.mean.value - default:.4f} lower (95 %: −" in said
    row = dict(zip(header(found), row_of(found, first).cells, strict=True))
    assert (row["mean"], row["loss"]) == (f"{first.mean.value:.4f}", f"{first.mean_loss:.4f}")
    assert confirmation(by_metric("loss", (0.95, 0.8, 0.6))).recommended == 0


def test_of_those_that_a_metric_cannot_tell_apart_the_cheapest_is_recommended():
    found = confirmation(by_metric("accuracy", (0.9, 0.9, 0.5)))
    assert {one.trial for one in found.configurations if one.tied} == {7, 3}
    assert found.recommended == 3


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_the_truly_best_is_among_the_tied_in_95_of_100_by_a_metric_too(metric):
    lost = 0
    for seed in range(200):
        lost += not confirmation(by_metric(metric, (0.8, 0.8, 0.8), seed=seed)).of(7).tied
    assert lost / 200 <= 0.05


def test_what_is_no_mean_over_examples_is_judged_over_seeds_alone_and_says_so():
    found = confirmation(by_metric("f1_macro", (0.95, 0.8, 0.6)))
    first, second, _ = found.configurations
    gaps = np.asarray(first.scores) - np.asarray(second.scores)
    width = t_quantile(0.5 + comparison_level(2) / 2, 4) * gaps.std(ddof=1) / np.sqrt(5)
    assert second.difference.low == pytest.approx(gaps.mean() - width)
    said = " ".join(sentences(found))
    assert "its intervals are over seeds alone" in said
    assert "A difference is paired, over seeds; those" in said
    one = confirmation(by_metric("f1_macro", (0.95, 0.8, 0.6), seeds=1))
    assert [each.tied for each in one.configurations] == [True, True, True]
    assert "With one seed nothing can be told apart by it" in " ".join(sentences(one))


def test_the_test_set_is_measured_by_the_metric():
    found = confirmation(by_metric("accuracy", (0.95, 0.8, 0.6), tested=(0.9, 0.5)))
    tested = found.tested
    assert (tested.metric, tested.disagrees) == ("accuracy", False)
    assert tested.mean.value > tested.default.value
    assert tested.difference.value == pytest.approx(tested.mean.value - tested.default.value, abs=1e-6)
    (said,) = (one for one in sentences(found) if one.startswith("The test set"))
    assert f"for trial 7: accuracy of the labels {tested.mean.value:.4f}" in said
    assert f"which is {tested.difference.value:.4f} lower (95 %: −" in said
    assert warnings(found) == ()


def test_where_test_and_validation_disagree_by_the_metric_there_is_a_warning():
    found = confirmation(by_metric("accuracy", (0.95, 0.8, 0.6), tested=(0.5, 0.9)))
    assert found.tested.disagrees
    (said,) = warnings(found)
    assert "disagree in accuracy of the labels: on the test set the default is better than trial 7" in said


def test_a_look_at_the_test_set_of_before_tells_of_losses_alone_and_says_so():
    found = confirmation(by_metric("accuracy", (0.95, 0.8, 0.6), tested=(0.9, 0.5), scores=False))
    tested = found.tested
    assert tested.metric == "loss"
    # By the loss the default is the better one, on both sets.
    assert (tested.difference.value < 0, tested.validation.value < 0, tested.disagrees) == (True, True, False)
    assert any("Its accuracy of the labels was not measured then." in one for one in sentences(found))


def test_one_whose_metric_was_not_measured_is_not_recommended_and_says_so():
    view = by_metric("accuracy", (0.95, 0.8, 0.6))
    bare = [dataclasses.replace(one, score=None if one.number == 0 else one.score) for one in view.trials]
    found = confirmation(dataclasses.replace(view, trials=tuple(bare)))
    assert found.recommended == 3
    assert found.of(7).lost == "complete without accuracy of the labels under seed 0"


def test_the_searchs_most_is_told_beside_the_confirmed_mean():
    view = dataclasses.replace(
        by_metric("accuracy", (0.9, 0.9, 0.5)), searched_scores={7: 0.99, 3: 0.95, 0: 0.5}
    )
    (said,) = (one for one in sentences(confirmation(view)) if one.startswith("The search had"))
    assert "The search had trial 7 for the best, with 0.9900" in said
    assert "picking the most of many" in said
