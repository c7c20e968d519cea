"""What a trial costs: its training, and every forward pass beside it, as it is really made."""

import dataclasses

import pytest
from loratune.study.facts import Answers
from loratune.study.pruners import Halving, Promote
from loratune.study.stopping import Stopping
from loratune.study.work import EVAL_COST, mean_work, passes_beside, work_of_rounds
from made_up_studies import make_config, make_facts


def objective(metric="loss", stopping=None):
    return dataclasses.replace(make_config().objective, metric=metric, stopping=stopping)


def known(labels=0, tokens=5):
    facts = make_facts()
    names = tuple(str(number) for number in range(labels))
    size = facts.budget.final_eval_examples
    return dataclasses.replace(facts, answers=Answers(labels=names), eval_tokens=(tokens,) * size)


def test_a_round_costs_its_examples_and_a_third_of_those_that_it_is_measured_on():
    facts = known()
    budget, costs = facts.budget, work_of_rounds(objective(), facts)
    assert len(costs) == 9
    assert costs[0] == 0
    assert costs[3] - costs[2] == pytest.approx(budget.round_examples)  # nobody is measured after round 3
    assert costs[2] - costs[1] == pytest.approx(budget.round_examples + EVAL_COST * budget.eval_examples)
    assert costs[8] - costs[7] == pytest.approx(
        budget.round_examples + EVAL_COST * budget.final_eval_examples
    )


def test_at_full_length_every_round_is_measured_and_the_end_on_all_examples():
    facts = known()
    budget, costs = facts.budget, work_of_rounds(objective(stopping=Stopping()), facts)
    each = budget.round_examples + EVAL_COST * budget.eval_examples
    assert costs[7] == pytest.approx(7 * each)
    assert costs[8] - costs[7] == pytest.approx(each + EVAL_COST * budget.final_eval_examples)


@pytest.mark.parametrize(
    ("metric", "labels", "passes"),
    [
        ("loss", 0, 0),
        ("token_accuracy", 0, 0),
        ("accuracy", 3, 3 * 100),
        ("loss", 3, 33 * 3),  # so many that it takes no longer than the loss of all
        ("loss", 4, 0),  # fewer than 32 examples say nothing of labels
        ("exact_match", 0, 5 * 100),
        ("rouge_l", 3, 5 * 100 + 33 * 3),
    ],
)
def test_labels_take_a_pass_each_and_answers_one_for_each_token(metric, labels, passes):
    assert passes_beside(objective(metric), known(labels), 100) == passes


def test_what_is_measured_beside_is_paid_in_the_last_round_alone():
    without, facts = work_of_rounds(objective(), known()), known(labels=2)
    size = facts.budget.final_eval_examples
    costs = work_of_rounds(objective("accuracy"), facts)
    assert costs[:8] == without[:8]
    assert costs[8] - without[8] == pytest.approx(EVAL_COST * 2 * size)


def test_the_last_evaluation_is_paid_by_those_alone_that_run_to_their_end():
    costs = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 108.0)
    promote = Promote(factor=3)
    assert promote.finishing_share(100) == pytest.approx(1 / 27 + 0.01)
    assert mean_work(costs, promote, 100) == pytest.approx(
        8 * promote.trained_share(100) + 100 * (1 / 27 + 0.01)
    )
    assert Halving().finishing_share(100) == Halving().trained_share(100)  # nobody counted
