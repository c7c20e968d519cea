"""How sure a mean over seeds is, and a difference that is paired by seed and by example."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.reports.crossed import over_both, over_seeds
from loratune.reports.paired import paired_interval
from loratune.reports.student import t_quantile
from loratune.study.records import Evaluation
from made_up_confirmations import draw


def pair(rng, *, difference=0.0, seeds=5, examples=200, seed_noise=0.03, example_noise=0.1):
    return draw(
        rng,
        (1.0 + difference, 1.0),
        seeds=seeds,
        examples=examples,
        seed_noise=seed_noise,
        example_noise=example_noise,
    )


def test_a_mean_has_students_interval_over_its_seeds():
    found = over_seeds([1.0, 2.0, 3.0, 4.0], 50)
    width = t_quantile(0.975, 3) * np.std([1, 2, 3, 4], ddof=1) / 2
    assert (found.value, found.seeds, found.examples) == (2.5, 4, 50)
    assert (found.low, found.high) == pytest.approx((2.5 - width, 2.5 + width))


def test_one_seed_says_nothing_of_the_luck_of_seeds():
    found = over_seeds([1.5], 50)
    assert (found.value, found.low, found.high, found.includes_zero) == (1.5, None, None, True)


def test_the_difference_is_that_of_the_mean_losses():
    first, second = pair(np.random.default_rng(0), difference=0.1)
    found = over_both(first, second)
    assert found.value == pytest.approx(
        np.mean([one.loss for one in first]) - np.mean([one.loss for one in second]), rel=1e-6
    )
    assert found.low < found.value < found.high
    assert (found.seeds, found.examples) == (5, 200)


def test_with_one_seed_it_is_the_paired_interval_over_examples():
    first, second = pair(np.random.default_rng(1), seeds=1)
    found, known = over_both(first, second), paired_interval(first[0], second[0])
    assert found.value == pytest.approx(known.difference)
    normal = (known.high - known.low) / 2 / 1.959964
    # The old one divides by n - 1 too, and goes by the normal distribution.
    assert (found.high - found.low) / 2 / t_quantile(0.975, 199) == pytest.approx(normal, rel=1e-4)


def test_with_all_examples_alike_it_is_students_interval_over_seeds():
    rng = np.random.default_rng(2)
    tokens = np.full(40, 7)
    luck = rng.normal(0, 0.1, 4)
    first = [Evaluation(losses=np.float32(tokens * (1 + one)), tokens=tokens) for one in luck]
    second = [Evaluation(losses=np.float32(tokens * 1.0), tokens=tokens)] * 4
    found, known = over_both(first, second), over_seeds(luck, 40)
    assert (found.value, found.low, found.high) == pytest.approx(
        (known.value, known.low, known.high), rel=1e-4
    )


@pytest.mark.parametrize(("seed_noise", "example_noise"), [(0.05, 0.02), (0.0, 0.2), (0.02, 0.2)])
def test_the_interval_holds_the_truth_in_95_of_100_whatever_the_noise_comes_from(seed_noise, example_noise):
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        tokens = rng.integers(4, 40, 80)
        taste = rng.normal(0, example_noise, 80)
        first = [
            Evaluation(
                losses=np.float32(
                    tokens * (1.05 + rng.normal(0, seed_noise) + taste + rng.normal(0, 0.05, 80))
                ),
                tokens=tokens,
            )
            for _ in range(4)
        ]
        second = [Evaluation(losses=np.float32(tokens * 1.0), tokens=tokens)] * 4
        found = over_both(first, second)
        held += found.low <= 0.05 <= found.high
    assert held / 400 >= 0.92  # on the safe side where one of the two noises is seen too small


def test_examples_alone_would_be_far_too_sure():
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(200):
        first, second = pair(rng, seed_noise=0.05, example_noise=0.02)
        wrong += paired_interval(first[0], second[0]).distinguishable
    assert wrong / 200 > 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(2, 50))
def test_swapping_the_two_turns_the_interval_round(seed, seeds, examples):
    first, second = pair(np.random.default_rng(seed), seeds=seeds, examples=examples)
    one, other = over_both(first, second), over_both(second, first)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert math.isfinite(one.low)
    # Nor does the order of the seeds matter.
    again = over_both(first[::-1], second[::-1])
    assert (again.value, again.low) == pytest.approx((one.value, one.low))


def test_what_does_not_pair_has_no_interval():
    first, second = pair(np.random.default_rng(5))
    assert over_both(first[:3], second) is None
    assert over_both([], []) is None
    other = [Evaluation(losses=one.losses, tokens=one.tokens + 1) for one in second]
    assert over_both(first, other) is None
    broken = [Evaluation(losses=one.losses * np.float32(np.nan), tokens=one.tokens) for one in second]
    assert over_both(first, broken) is None


def test_equal_losses_differ_by_nothing():
    first, _ = pair(np.random.default_rng(6))
    found = over_both(first, first)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.includes_zero
