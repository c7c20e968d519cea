"""How training examples are shared out between a search and the steps above it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from loratune.errors import BudgetError
from loratune.study.budget import plan_budget
from loratune.study.ladder import FACTOR, FINAL, KEPT, LAST_FACTOR, Ladder, Step, plan_ladder

MULTIPLE = 256


def ladders(least: int = 2_000) -> st.SearchStrategy[Ladder]:
    return st.builds(
        lambda examples, trial: plan_ladder(examples, trial=trial, multiple=MULTIPLE),
        st.integers(least * 2, 5_000_000),
        st.sampled_from([512, 768, 1536, 3072]),
    )


def new(ladder: Ladder, level: int) -> float:
    """Return what a trial of a step costs where it goes on from the sixth of eight parts of one below."""
    below, length = (ladder.trial * ladder.times(up) for up in (level - 1, level))
    return length - 0.75 * below


def climbed(ladder: Ladder, spent: int, candidates: int) -> list[Step]:
    """Return every step that is taken, and check the examples as they are spent."""
    steps: list[Step] = []
    while (step := ladder.next_step(level=len(steps), spent=spent, candidates=candidates)) is not None:
        spent += int(step.count * new(ladder, step.level))
        assert spent <= ladder.examples
        steps.append(step)
        candidates = step.count
    return steps


@given(st.data())
def test_search_and_steps_together_never_take_more_than_was_given(data: st.DataObject) -> None:
    examples = data.draw(st.integers(8_000, 5_000_000))
    ladder = plan_ladder(examples, trial=1536, multiple=MULTIPLE)
    searched = data.draw(st.integers(0, ladder.searching))
    steps = climbed(ladder, searched, data.draw(st.integers(1, 200)))
    assert len(steps) == ladder.steps
    assert [step.level for step in steps] == list(range(1, ladder.steps + 1))
    assert [step.last for step in steps] == [False] * (ladder.steps - 1) + [True] * bool(steps)


@given(ladders())
def test_fewer_go_up_each_time_for_twice_as_long_and_the_last_step_is_one_trial_thrice_as_long(
    ladder,
) -> None:
    steps = climbed(ladder, ladder.searching, 200)
    counts = [step.count for step in steps]
    assert counts == sorted(counts, reverse=True)
    assert all(count <= KEPT for count in counts)
    lengths = [ladder.trial, *(step.examples for step in steps)]
    times = [FACTOR] * (len(steps) - 1) + [LAST_FACTOR]
    assert [after / before for before, after in itertools.pairwise(lengths)] == times[: len(steps)]
    if steps:
        assert counts[-1] == 1
        assert steps[-1].examples == ladder.final


@given(st.integers(30_000, 5_000_000))
def test_the_last_trial_has_about_half_of_all_examples(examples: int) -> None:
    ladder = plan_ladder(examples, trial=1536, multiple=MULTIPLE)
    assert 0.7 * FINAL <= ladder.final / examples <= 1.3 * FINAL


@given(st.integers(4_000, 5_000_000))
def test_the_trials_of_the_search_are_between_half_and_all_of_an_ordinary_length(examples: int) -> None:
    ladder = plan_ladder(examples, trial=1536, multiple=MULTIPLE)
    assert 768 <= ladder.trial <= 1536
    assert ladder.trial % MULTIPLE == 0
    assert ladder.searching >= 2 * ladder.trial


def test_the_length_that_the_user_chose_is_kept() -> None:
    assert plan_ladder(100_000, trial=1024, multiple=MULTIPLE, given=True).trial == 1024


def test_what_a_search_left_over_lets_more_of_it_go_up() -> None:
    ladder = plan_ladder(107_520, trial=1536, multiple=MULTIPLE)
    all_spent = ladder.next_step(level=0, spent=ladder.searching, candidates=50)
    half_spent = ladder.next_step(level=0, spent=ladder.searching // 2, candidates=50)
    assert all_spent is not None
    assert half_spent is not None
    assert all_spent.count < half_spent.count <= KEPT


def test_who_has_no_candidate_or_no_examples_left_takes_no_step() -> None:
    ladder = plan_ladder(107_520, trial=1536, multiple=MULTIPLE)
    assert ladder.next_step(level=0, spent=0, candidates=0) is None
    assert ladder.next_step(level=0, spent=ladder.examples, candidates=5) is None
    assert ladder.next_step(level=ladder.steps, spent=0, candidates=5) is None


@given(st.integers(1, 1_535))
def test_examples_for_less_than_two_short_trials_are_refused(examples: int) -> None:
    with pytest.raises(BudgetError, match=rf"^{examples:,} training examples? in all: .* takes 1536; give"):
        plan_ladder(examples, trial=1536, multiple=MULTIPLE)


def test_hours_that_are_too_short_are_told_in_hours_with_those_that_do() -> None:
    with pytest.raises(
        BudgetError, match=r"^0\.5 hours come to 768 training examples, .* about 1 hours or more"
    ):
        plan_ladder(768, trial=1536, multiple=MULTIPLE, hours=0.5)
    with pytest.raises(BudgetError, match=r"^1e-09 hours come to 1 training example, and"):
        plan_ladder(1, trial=1536, multiple=MULTIPLE, hours=1e-9)


@given(ladders(), st.one_of(st.none(), st.floats(0.1, 1e4)))
def test_it_is_read_as_it_was_written(ladder: Ladder, hours: float | None) -> None:
    assume(hours is None or hours == hours)
    made = Ladder.from_json({**ladder.to_json(), "hours": hours})
    assert Ladder.from_json(made.to_json()) == made


def test_a_length_that_was_given_is_rounded_up_as_a_budget_is_so_that_each_step_is_whole_rounds_of_the_last():
    ladder = plan_ladder(400_000, trial=1000, multiple=256, given=True)
    lengths = [ladder.trial, *(step.examples for step in ladder.planned(99))]
    budgets = [
        plan_budget([8, 16, 32], train_examples=10**6, validation_examples=500, examples=length).examples
        for length in lengths
    ]
    assert len(budgets) > 4
    assert budgets == lengths
    assert lengths[:-1] == [1024 * 2**level for level in range(len(lengths) - 1)]
    assert lengths[-1] == 3 * lengths[-2]


def test_batch_sizes_of_a_large_multiple_make_longer_trials():
    assert plan_ladder(100_000, trial=960, multiple=1920).trial == 1920


@given(st.data())
def test_with_less_left_than_planned_it_still_climbs_as_far_as_that_pays(data: st.DataObject) -> None:
    ladder = plan_ladder(data.draw(st.integers(20_000, 2_000_000)), trial=1536, multiple=MULTIPLE)
    assume(ladder.steps > 0)
    one_step = int(new(ladder, 1)) + 1
    left = data.draw(st.integers(one_step, ladder.examples))
    steps = climbed(ladder, ladder.examples - left, 50)
    assert steps
    cost_of_one_each = sum(new(ladder, level) + 1 for level in range(1, ladder.steps + 1))
    if left >= cost_of_one_each:
        assert steps[-1].last


def test_a_ladder_of_before_the_last_factor_was_stored_has_a_last_trial_twice_as_long() -> None:
    stored = {"examples": 107_520, "trial": 1280, "steps": 5, "counts": [1, 2, 2, 3, 4], "hours": None}
    before = Ladder.from_json(stored)
    assert before.final == 32 * 1280
    assert [before.begins(level) for level in (1, 5)] == [3, 3]
    assert before.new_examples(5) == 25_600
