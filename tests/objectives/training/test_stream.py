"""The order of the data: every example once an epoch, shapes that belong to the micro-step."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.training.rng import derive_seed, dropout_mask, initial_a, permutation, spread_out
from loratune.objectives.training.stream import EPOCHS_KEPT, SEEDS_COVERED, Stream, micro_step_lengths
from loratune.study.budget import ROUNDS, Budget


def make_budget(micro_batch: int, micro_steps: int, *, even_lengths: bool = True) -> Budget:
    round_examples = micro_batch * micro_steps
    return Budget(
        micro_batch=micro_batch,
        round_examples=round_examples,
        batch_sizes=(micro_batch, round_examples),
        eval_examples=1,
        final_eval_examples=1,
        even_lengths=even_lengths,
    )


cases = st.tuples(
    st.lists(st.integers(1, 300), min_size=3, max_size=120),
    st.integers(1, 4),
    st.integers(1, 12),
    st.integers(0, 2**40),
    st.booleans(),
)


@given(cases)
@settings(max_examples=60, deadline=None)
def test_every_example_comes_exactly_once_an_epoch(case) -> None:
    lengths, micro_batch, micro_steps, seed, even = case
    budget = make_budget(micro_batch, micro_steps, even_lengths=even)
    stream = Stream(np.array(lengths), budget, seed)
    read = np.concatenate([stream.round(index).reshape(-1) for index in range(ROUNDS)])
    count = len(lengths)
    # Inside a round the order is by rank, so an epoch is compared where it begins and ends with one.
    seen = np.bincount(read, minlength=count)
    whole, rest = divmod(len(read), count)
    assert seen.min() >= whole
    assert seen.max() <= whole + (rest > 0)
    assert seen.sum() == len(read)


@given(cases)
@settings(max_examples=40, deadline=None)
def test_a_micro_step_is_long_enough_for_every_example_that_any_covered_seed_puts_there(case) -> None:
    lengths, micro_batch, micro_steps, seed, even = case
    budget = make_budget(micro_batch, micro_steps, even_lengths=even)
    padded = np.array(micro_step_lengths(np.array(lengths), budget, seed))
    assert (padded % 8 == 0).all()
    closer = np.array(micro_step_lengths(np.array(lengths), budget, seed, 4))
    assert (closer % 4 == 0).all()
    assert ((closer <= padded) & (padded < closer + 8)).all()
    assert padded.min() >= 16
    for offset in (0, SEEDS_COVERED - 1):
        stream = Stream(np.array(lengths), budget, seed + offset)
        for index in range(ROUNDS):
            longest = np.array(lengths)[stream.round(index)].max(axis=1)
            assert (longest <= padded).all()


def test_a_micro_step_holds_examples_of_like_length() -> None:
    lengths = np.arange(1, 1001)
    stream = Stream(lengths, make_budget(4, 48), seed=3)
    spreads = [np.ptp(lengths[micro_step]) for micro_step in stream.round(0)]
    assert np.median(spreads) < 40


def test_two_seeds_read_the_data_in_two_orders_and_one_seed_in_one() -> None:
    lengths = np.arange(1, 401)
    budget = make_budget(4, 12)
    first, again, other = (Stream(lengths, budget, seed).round(2) for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


@pytest.fixture(scope="module")
def padding(load_benchmark: Callable[[str], ModuleType]) -> ModuleType:
    """The program that measures it, with made-up lengths of which most are short and a few long."""
    return load_benchmark("padding")


def test_every_round_has_as_many_long_examples_as_any_other(padding: ModuleType) -> None:
    lengths = padding.long_tailed(5000)
    long = lengths >= np.quantile(lengths, 0.9)

    def counts(*, even: bool) -> list[int]:
        stream = Stream(lengths, make_budget(4, 25, even_lengths=even), seed=1)
        return [int(long[stream.round(index)].sum()) for index in range(ROUNDS)]

    assert all(9 <= count <= 11 for count in counts(even=True))
    assert np.ptp(counts(even=False)) > 2


def test_rounds_that_are_alike_are_padded_less(padding: ModuleType) -> None:
    lengths = padding.long_tailed(5000)
    shuffled, even = (padding.shares(lengths, padding.budget_of(96, even=even)) for even in (False, True))
    assert even[0] > shuffled[0] + 0.08
    assert all(real < own <= 1.0 for real, own in (shuffled, even))


@given(st.integers(0, 2**40), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_trial_that_goes_on_at_a_greater_length_reads_on_where_it_was(seed: int, times: int) -> None:
    lengths = np.arange(1, 302) ** 2
    short, long = (Stream(lengths, make_budget(2, 6 * size), seed) for size in (1, times))
    before = np.concatenate([short.round(index).reshape(-1) for index in range(times)])
    assert sorted(before.tolist()) == sorted(long.round(0).reshape(-1).tolist())


def test_of_a_long_training_the_orders_of_few_epochs_are_kept() -> None:
    stream = Stream(np.arange(1, 11), make_budget(2, 50), seed=5)
    first = stream.round(0).tolist()
    for index in range(ROUNDS):
        stream.round(index)
    assert len(stream._epochs) == EPOCHS_KEPT
    assert stream.round(0).tolist() == first


def test_a_study_of_before_reads_its_data_as_it_did() -> None:
    stream = Stream(np.arange(1, 11), make_budget(2, 2, even_lengths=False), seed=5)
    assert stream.round(1).tolist() == [[3, 4], [7, 8]]


def splitmix64(state: int) -> int:
    """The generator's published steps in Python's whole numbers (Steele et al., 2014)."""
    z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@given(st.integers(0, 60), st.integers(0, 2**63 - 1))
def test_a_permutation_ranks_positions_by_splitmix64(length: int, seed: int) -> None:
    keys = [splitmix64(((position + 1) * 0x9E3779B97F4A7C15 + seed) % 2**64) for position in range(length)]
    assert permutation(length, seed).tolist() == sorted(range(length), key=keys.__getitem__)


def test_a_permutation_is_the_same_for_ever() -> None:
    assert permutation(10, 7).tolist() == [1, 8, 5, 7, 0, 9, 4, 6, 3, 2]
    assert derive_seed("epoch", 0, 1) == derive_seed("epoch", "0", 1) != derive_seed("epoch", 1, 0)


@given(st.integers(0, 500), st.integers(0, 2**63 - 1))
def test_what_is_spread_out_holds_every_number_once_and_every_stretch_some_of_each_part(
    length: int, seed: int
) -> None:
    found = spread_out(length, seed)
    assert sorted(found.tolist()) == list(range(length))
    for size in (8, 24):
        for start in range(0, length - size + 1, size):
            parts = np.bincount(found[start : start + size] * 4 // length, minlength=4)
            assert (abs(parts - size / 4) <= 2).all(), parts


def test_what_is_spread_out_is_the_same_for_ever_and_another_for_each_seed() -> None:
    assert spread_out(10, 7).tolist() == [0, 6, 4, 8, 2, 7, 3, 9, 1, 5]
    assert (spread_out(400, 7) != spread_out(400, 8)).mean() > 0.9
    firsts = np.array([spread_out(64, seed)[0] for seed in range(640)])
    assert np.bincount(firsts, minlength=64).max() < 30


@given(st.integers(0, 500), st.integers(0, 2**63 - 1))
def test_a_permutation_holds_every_number_once(length: int, seed: int) -> None:
    assert sorted(permutation(length, seed).tolist()) == list(range(length))


def test_an_initial_adapter_depends_on_seed_and_layer_and_has_the_spread_of_peft() -> None:
    a = initial_a(1, "layers.0.q_proj", 16, 64)
    assert a.equal(initial_a(1, "layers.0.q_proj", 16, 64))
    assert not a.equal(initial_a(2, "layers.0.q_proj", 16, 64))
    assert not a.equal(initial_a(1, "layers.1.q_proj", 16, 64))
    assert a.abs().max() <= 1 / 8
    assert abs(float(a.std()) - 1 / 8 / 3**0.5) < 0.005


def test_a_dropout_mask_depends_on_seed_layer_and_position_alone() -> None:
    mask = dropout_mask(1, "q_proj", 32, (2, 16, 64), 0.25, "cpu")
    assert mask.equal(dropout_mask(1, "q_proj", 32, (2, 16, 64), 0.25, "cpu"))
    assert abs(float(mask.float().mean()) - 0.75) < 0.03
    for other in ((2, "q_proj", 32), (1, "k_proj", 32), (1, "q_proj", 34)):
        assert not mask.equal(dropout_mask(*other, (2, 16, 64), 0.25, "cpu"))
