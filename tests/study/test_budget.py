import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.errors import BudgetError
from loratune.study.budget import MAX_EPOCHS, ROUNDS, plan_budget

quiet = settings(deadline=None, database=None)
powers = st.sets(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), min_size=1)


def plan(batch_sizes=(4, 8, 16, 32), train=10_000, validation=1000, **asked):
    return plan_budget(batch_sizes, train_examples=train, validation_examples=validation, **asked)


@quiet
@given(st.sets(st.integers(1, 64), min_size=1, max_size=4), st.integers(1, 5000), st.integers(1, 2000))
def test_every_planned_budget_keeps_its_promises(sizes, train, validation):
    try:
        budget = plan(sizes, train, validation)
    except BudgetError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert set(budget.batch_sizes) <= sizes
    assert all(size % budget.micro_batch == 0 for size in budget.batch_sizes)
    assert all(budget.round_examples % size == 0 for size in budget.batch_sizes)
    assert budget.examples <= MAX_EPOCHS * train
    assert budget.steps(budget.batch_sizes[-1]) >= 48
    least = min(16, validation)
    assert least <= budget.eval_examples <= budget.final_eval_examples <= validation
    lowered = set(budget.batch_sizes) != sizes or validation < max(16, 2 * budget.round_examples)
    assert bool(budget.notes) == lowered


@quiet
@given(powers, st.integers(1, 100_000))
def test_asked_examples_are_kept_or_rounded_up_with_a_note(sizes, examples):
    if examples < ROUNDS * max(sizes):
        with pytest.raises(BudgetError, match=f"at least {ROUNDS * max(sizes)}:"):
            plan(sizes, examples=examples)
        return
    budget = plan(sizes, train=1_000_000, examples=examples)
    assert budget.batch_sizes == tuple(sorted(sizes))
    assert examples <= budget.examples < examples + ROUNDS * max(sizes)
    assert any(f"instead of {examples:,}:" in note for note in budget.notes) == (budget.examples != examples)


def test_the_default_gives_48_steps_at_the_largest_batch_size():
    budget = plan()
    assert (budget.round_examples, budget.examples, budget.micro_batch) == (192, 1536, 4)
    assert [budget.steps(size) for size in budget.batch_sizes] == [384, 192, 96, 48]
    assert (budget.eval_examples, budget.final_eval_examples, budget.notes) == (96, 384, ())


@pytest.mark.parametrize(
    ("sizes", "micro_batch", "round_examples"),
    [
        ((7,), 1, 42),
        ((6, 12), 3, 72),
        ((24, 32), 4, 192),
        ((2, 4), 2, 24),
        ((5, 32), 1, 320),
        ((8, 12, 16), 4, 96),
    ],
)
def test_the_micro_batch_is_the_largest_common_divisor_up_to_4(sizes, micro_batch, round_examples):
    budget = plan(sizes)
    assert (budget.micro_batch, budget.round_examples) == (micro_batch, round_examples)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((7, 32), "batch_size: 7 does not go with 32: .* take 8 "),
        ((4, 8, 16, 31), "batch_size: 31 does not go with 4, 8, 16: .* take 32 "),
        ((7, 11, 32), "batch_size: 11 does not go with 7, 32: .* take 8 "),
        ((), r"batch_size: \[\] holds no batch size"),
        ((0, 8), "holds no batch size of at least 1"),
    ],
)
def test_batch_sizes_that_do_not_go_together_are_refused_with_the_nearest_that_does(sizes, message):
    with pytest.raises(BudgetError, match=message):
        plan(sizes)


def test_what_the_refusal_of_a_batch_size_offers_is_accepted():
    assert plan((8, 32)).round_examples == 192
    assert plan((4, 8, 16, 32)).round_examples == 192


def test_batch_sizes_too_large_for_the_data_are_left_out_with_a_note():
    budget = plan(train=150)
    assert budget.batch_sizes == (4, 8)
    assert budget.round_examples == 48
    assert "Batch sizes above 8 are left out (16, 32)" in budget.notes[0]
    assert "512 would be enough" in budget.notes[0]
    assert plan(train=512).batch_sizes == (4, 8, 16, 32)
    assert plan(train=511).batch_sizes == (4, 8, 16)


def test_too_few_examples_for_the_smallest_batch_size_are_refused_with_the_number_needed():
    with pytest.raises(BudgetError, match="it needs 64;"):
        plan(train=63)
    assert plan(train=64).batch_sizes == (4,)


def test_more_than_three_epochs_are_allowed_where_asked_for_and_said():
    budget = plan(train=60, examples=512)
    assert budget.examples == 512
    assert "8.5 times" in budget.notes[0]


@pytest.mark.parametrize(("examples", "least"), [(255, 256), (0, 256), (-8, 256), (1, 256)])
def test_fewer_examples_than_a_trial_needs_are_refused_with_the_least(examples, least):
    with pytest.raises(
        BudgetError, match=f"examples: {examples} is too few .* at least {least}: .*--set batch_size="
    ):
        plan(examples=examples)
    assert plan(examples=least).examples == least


def asked_for(words: str) -> dict[str, int]:
    """Return what a complaint tells to give on the command line."""
    found = {"batch_size": re.search(r"--set batch_size=(\d+)", words), "examples": None}
    found["examples"] = re.search(r"--examples (\d+)", words)
    return {name: int(match.group(1)) for name, match in found.items() if match is not None}


@pytest.mark.parametrize("train", [1, 2, 15, 16, 31, 33, 63])
def test_what_is_told_to_be_given_for_few_data_is_enough(train):
    with pytest.raises(BudgetError) as refused:
        plan((8, 16), train=train)
    given = asked_for(str(refused.value))
    assert plan((given["batch_size"],), train=train, examples=given.get("examples")).batch_sizes


@pytest.mark.parametrize("examples", [-8, 1, 7, 8, 100, 255])
def test_what_is_told_to_be_given_for_few_examples_is_enough(examples):
    with pytest.raises(BudgetError) as refused:
        plan(examples=examples)
    given = asked_for(str(refused.value))
    assert plan((given["batch_size"],), examples=given.get("examples", examples)).examples >= examples


def test_the_least_that_is_named_is_accepted_where_batch_sizes_have_a_larger_multiple():
    with pytest.raises(BudgetError, match=r"at least 768:"):
        plan((24, 32), examples=100)
    assert plan((24, 32), examples=768).examples == 768


def test_a_small_validation_set_is_used_whole_and_said():
    budget = plan(validation=100)
    assert (budget.eval_examples, budget.final_eval_examples) == (96, 100)
    assert budget.notes == ("The final loss is taken over 100 validation examples; 384 were wanted.",)


@pytest.mark.parametrize(
    ("asked", "rung", "final"),
    [(100, 25, 100), (800, 96, 800), (384, 96, 384), (16, 4, 16), (5000, 96, 1000)],
)
def test_asked_evaluation_examples_set_the_final_set_and_the_rungs_take_a_quarter_at_most(asked, rung, final):
    budget = plan(eval_examples=asked)
    assert (budget.eval_examples, budget.final_eval_examples) == (rung, final)
    assert bool(budget.notes) == (asked > 1000)


def test_too_few_evaluation_examples_are_refused_with_the_least():
    with pytest.raises(BudgetError, match=r"eval_examples: 15 is too few .* at least 16$"):
        plan(eval_examples=15)
    assert plan(validation=5, eval_examples=5).final_eval_examples == 5


@pytest.mark.parametrize(("counts", "what"), [({"train": 0}, "training"), ({"validation": 0}, "validation")])
def test_an_empty_set_is_refused(counts, what):
    with pytest.raises(BudgetError, match=f"the {what} set is empty"):
        plan(**counts)


def test_evaluations_come_after_rounds_1_2_4_and_8():
    budget = plan()
    assert [budget.eval_size(number) for number in range(1, 9)] == [96, 96, 0, 96, 0, 0, 0, 384]
    assert budget.micro_steps * budget.micro_batch == budget.round_examples
    assert math.gcd(*budget.batch_sizes) % budget.micro_batch == 0


def test_one_example_is_spoken_of_as_one():
    with pytest.raises(BudgetError, match=r"^1 training example is too few: "):
        plan(train=1)
    notes = " ".join(plan(train=1, validation=1, examples=256).notes)
    assert "the 1 training example 256.0 times" in notes
    assert "over 1 validation example; " in notes
