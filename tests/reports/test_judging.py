"""A mean over a few seeds, by whatever it is judged."""

from __future__ import annotations

import pytest
from loratune.reports.crossed import over_seeds
from loratune.reports.judging import Judge
from loratune.study.facts import Answers


def judge(metric):
    return Judge(metric=metric, evaluations={}, scores={}, answers=Answers())


def test_an_interval_of_two_losses_ends_at_0_where_students_would_reach_below_it():
    found = judge("loss").mean([0.4, 0.6], 50)
    student = over_seeds([0.4, 0.6], 50)
    assert student.low < 0
    assert (found.value, found.low, found.high) == (student.value, 0.0, student.high)


def test_an_interval_that_stays_above_0_is_students():
    assert judge("loss").mean([1.0, 1.01, 1.02], 50) == over_seeds([1.0, 1.01, 1.02], 50)


def test_an_interval_of_a_loss_may_reach_above_1():
    assert judge("loss").mean([2.0, 2.5, 3.0], 50).high > 1


@pytest.mark.parametrize("values", [[0.1, 0.6], [0.4, 0.9]])
def test_an_interval_of_a_share_stays_between_0_and_1(values):
    found = judge("accuracy").mean(values, 50)
    assert (found.low, found.high) == (0.0, 1.0)
