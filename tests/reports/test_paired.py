import numpy as np
import pytest
from loratune.reports.paired import MIN_EXAMPLES, paired_interval
from loratune.study.records import Evaluation


def evaluation(losses, tokens):
    return Evaluation(losses=np.asarray(losses, np.float32), tokens=np.asarray(tokens, np.int64))


def pair(rng, examples, difference):
    """Two models on the same examples of very different length and hardness."""
    tokens = rng.integers(1, 60, examples)
    shared = tokens * rng.lognormal(0, 0.6, examples)
    noise = tokens * rng.normal(0, 0.2, examples)
    return evaluation(shared + difference * tokens + noise, tokens), evaluation(shared, tokens)


def test_the_difference_is_that_of_the_losses_over_all_tokens():
    first, second = pair(np.random.default_rng(0), 300, 0.1)
    interval = paired_interval(first, second)
    assert interval.difference == pytest.approx(first.loss - second.loss, rel=1e-5)
    assert interval.low < interval.difference < interval.high
    assert interval.examples == 300


def test_the_interval_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        interval = paired_interval(*pair(rng, 120, 0.05))
        held += interval.low <= 0.05 <= interval.high
    assert 0.925 <= held / 1000 <= 0.97


def test_it_is_as_wide_as_a_paired_bootstrap_over_examples():
    rng = np.random.default_rng(2)
    first, second = pair(rng, 200, 0.05)
    interval = paired_interval(first, second)
    difference = first.losses.astype(float) - second.losses
    drawn = rng.integers(0, 200, (4000, 200))
    means = difference[drawn].sum(1) / first.tokens[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert interval.high - interval.low == pytest.approx(high - low, rel=0.06)


def test_pairing_makes_it_far_narrower_than_the_spread_of_the_examples():
    first, second = pair(np.random.default_rng(3), 200, 0.05)
    interval = paired_interval(first, second)
    alone = np.std(first.losses / first.tokens) / np.sqrt(200)
    assert interval.high - interval.low < 2 * 1.96 * alone / 2


def test_a_difference_in_proportion_to_length_has_no_uncertainty():
    tokens = np.arange(1, 61)
    interval = paired_interval(evaluation(2.5 * tokens, tokens), evaluation(2.0 * tokens, tokens))
    assert (interval.low, interval.high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_difference_that_is_noise_is_not_distinguishable():
    interval = paired_interval(*pair(np.random.default_rng(10), 200, 0.0))
    assert not interval.distinguishable
    assert paired_interval(*pair(np.random.default_rng(4), 200, 0.5)).distinguishable


def test_equal_losses_are_not_distinguishable():
    first, _ = pair(np.random.default_rng(5), 50, 0.0)
    interval = paired_interval(first, first)
    assert (interval.low, interval.high) == (0, 0)
    assert not interval.distinguishable


def test_it_is_the_same_every_time():
    first, second = pair(np.random.default_rng(6), 80, 0.01)
    assert paired_interval(first, second) == paired_interval(first, second)


def test_too_few_examples_give_no_interval():
    few = pair(np.random.default_rng(7), MIN_EXAMPLES - 1, 0.1)
    enough = pair(np.random.default_rng(7), MIN_EXAMPLES, 0.1)
    assert paired_interval(*few) is None
    assert paired_interval(*enough) is not None


def test_losses_on_other_examples_are_not_compared():
    first, _ = pair(np.random.default_rng(8), 40, 0.1)
    shifted = evaluation(first.losses, first.tokens + 1)
    assert paired_interval(first, shifted) is None


def test_a_loss_that_is_not_finite_gives_no_interval():
    first, second = pair(np.random.default_rng(9), 40, 0.1)
    broken = first.losses.copy()
    broken[3] = np.inf
    assert paired_interval(evaluation(broken, first.tokens), second) is None
