"""Curves are named by stated rules; each rule is held from both sides of its threshold."""

import dataclasses

import pytest
from loratune.reports.curve_reading import ADVICE, COUNTED, Curve, gradient_names, read_curve

GOOD = Curve(
    base=6.30,
    train=(4.5, 1.9, 1.6, 1.2, 1.0, 0.8, 0.8, 0.8),
    norms=(4.0, 2.6, 2.9, 1.9, 1.8, 1.4, 1.4, 1.2),
    evals={1: 2.6, 2: 1.6, 4: 0.96, 8: 0.69},
)
"""As the demo's default trains."""


def changed(**fields) -> Curve:
    return dataclasses.replace(GOOD, **fields)


def kind(**fields) -> str:
    return read_curve(changed(**fields)).kind


def test_a_curve_that_falls_early_and_stays_down_is_healthy():
    found = read_curve(GOOD)
    assert (found.kind, found.gradients) == ("healthy", ())
    assert found.sentence.endswith("Nothing in it asks for a change.")


def test_a_loss_without_bounds_has_diverged_however_short():
    assert kind(train=(4.5, None), norms=(4.0, None)) == "diverged"
    assert kind(diverged=True) == "diverged"
    assert kind(train=(), norms=(), evals={}, diverged=True) == "diverged"


def test_less_than_half_of_a_curve_is_not_judged():
    assert kind(train=GOOD.train[:3], norms=GOOD.norms[:3], complete=False) == "short"


@pytest.mark.parametrize(("rounds", "words"), [(1, "1 round of 8"), (3, "3 rounds of 8")])
def test_a_short_curve_says_what_is_true_of_a_trial_that_was_stopped_too(rounds, words):
    curve = changed(train=GOOD.train[:rounds], norms=GOOD.norms[:rounds], complete=False)
    assert (
        read_curve(curve).sentence
        == f"Its curve is too short to say: {words}. It can be read from round 4 on."
    )
    assert (
        kind(train=GOOD.train[:4], norms=GOOD.norms[:4], evals={1: 2.6, 2: 1.6}, complete=False) == "healthy"
    )


@pytest.mark.parametrize(("last", "expected"), [(0.97, "healthy"), (0.99, "overfitting")])
def test_an_eval_loss_that_rises_while_the_train_loss_falls_is_overfitting(last, expected):
    # 2 % above 0.96 is 0.9792.
    assert kind(evals={1: 2.6, 2: 1.6, 4: 0.96, 8: last}) == expected


def test_an_eval_loss_that_rises_with_the_train_loss_is_not_overfitting():
    train = (4.5, 1.9, 1.6, 1.0, 1.0, 1.1, 1.1, 1.1)
    assert kind(train=train, evals={1: 2.6, 2: 1.6, 4: 0.96, 8: 1.1}) != "overfitting"


@pytest.mark.parametrize(("train", "expected"), [(0.36, "healthy"), (0.34, "overfitting")])
def test_a_train_loss_far_below_the_eval_loss_is_overfitting_though_that_falls(train, expected):
    assert kind(train=(*GOOD.train[:7], train)) == expected


@pytest.mark.parametrize(("middle", "expected"), [(1.5, "healthy"), (1.7, "underfitting")])
def test_a_curve_that_still_falls_at_its_end_is_underfitting(middle, expected):
    # From 6.30 to 0.69 is 5.61, of which 15 % are 0.84.
    assert kind(evals={1: 2.6, 2: 2.0, 4: middle, 8: 0.69}) == expected


@pytest.mark.parametrize(("last", "expected"), [(6.16, "healthy"), (6.19, "underfitting")])
def test_a_curve_that_hardly_left_the_base_model_is_underfitting(last, expected):
    flat = (6.3,) * 8
    assert kind(train=flat, evals={1: 6.2, 2: 6.18, 4: last, 8: last}) == expected


def test_a_trial_that_was_stopped_early_is_not_called_underfitting():
    fields = {"train": (5.5, 4.4, 3.8, 3.2), "norms": GOOD.norms[:4], "evals": {1: 5.0, 2: 4.0, 4: 3.0}}
    assert kind(**fields, complete=False) == "healthy"
    assert kind(**fields) == "underfitting"


@pytest.mark.parametrize(("back", "expected"), [(2.4, "healthy"), (2.6, "unstable")])
def test_a_train_loss_that_goes_back_up_is_unstable(back, expected):
    # A tenth of 6.30 above 1.9.
    assert kind(train=(4.5, 1.9, back, 1.2, 1.0, 0.8, 0.8, 0.8)) == expected


def test_gradients_that_grow_explode_and_make_a_curve_unstable():
    found = read_curve(changed(norms=(4.0, 2.6, 12.0, 1.9, 1.8, 1.4, 1.4, 1.2)))
    assert (found.kind, found.gradients) == ("unstable", ("exploding",))
    assert "exploding gradients" in found.sentence
    assert gradient_names(changed(norms=(4.0, 2.6, 10.0, 8.0, 8.0, 8.0, 8.0, 8.0))) == ()


def test_a_norm_that_is_not_finite_explodes():
    assert gradient_names(changed(norms=(4.0, None))) == ("exploding",)


def test_gradients_that_fall_with_the_loss_neither_explode_nor_vanish():
    norms = (7.5, 3.9, 2.4, 1.9, 0.8, 0.4, 0.26, 0.2)
    assert gradient_names(changed(norms=norms)) == ()
    stuck = (6.0, 5.3, 5.1, 4.9, 4.9, 4.9, 4.9, 4.9)
    assert gradient_names(changed(norms=norms, train=stuck)) == ("exploding", "vanishing")


def test_gradients_that_turn_three_times_oscillate():
    assert gradient_names(changed(norms=(2.0, 3.5, 2.0, 3.5, 2.0, 2.0, 2.0, 2.0))) == ("oscillating",)
    assert gradient_names(changed(norms=(2.0, 3.5, 2.0, 3.5, 3.5, 3.5, 3.5, 3.5))) == ()
    assert gradient_names(changed(norms=(2.0, 2.9, 2.0, 2.9, 2.0, 2.9, 2.0, 2.9))) == ()


def test_a_curve_without_evaluations_is_read_by_its_train_losses():
    assert kind(evals={}) == "healthy"


def test_every_kind_has_its_advice():
    assert set(ADVICE) == set(COUNTED)
    assert all(text.endswith(".") for text in ADVICE.values())
