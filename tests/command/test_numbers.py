"""Whole numbers are written in one way in all that people read: plan, live lines, a study, the page."""

from __future__ import annotations

import dataclasses
import re

import pytest
from loratune.app.planning import plan_values
from loratune.command import showing
from loratune.command.live_view import live_table
from loratune.command.planning import plan_lines
from loratune.command.standing import standing
from loratune.reports.page import render
from loratune.reports.report_facts import study_facts
from made_up_progress import printed, progress
from made_up_studies import with_facts

OTHERS = re.compile(r"(?<![\w.:/−+-])\d{4,}(?![\w.]*\d|-\d\d-)|\d[\u2009\u202f ]\d{3}(?!\d)")
"""Four digits in a row, or thousands that spaces tell apart; no part of a name, a time or a fraction."""


def large(view):
    """The study on a hundred thousand examples."""
    data = dataclasses.replace(
        view.data,
        train=120_000,
        validation=12_000,
        test=13_000,
        truncated=2_345,
        length_quantiles=(10, 1_000, 2_000, 3_000, 14_096),
        cutoff_len=16_384,
        records=145_000,
    )
    return with_facts(view, data=data)


@pytest.mark.parametrize(
    ("found", "expected"),
    [("1536 examples", True), ("1 536", True), ("1\u202f536", True), ("1,536", False), ("2026-11-28", False)],
)
def test_what_is_looked_for_is_found(found, expected):
    assert bool(OTHERS.search(found)) is expected


def test_the_plan_has_one_way(view):
    view = large(view)
    config = view.study.config
    values = plan_values(config, view.study.facts, trials=1_500, workers=2)
    said = "\n".join(f"{name}  {words}" for name, words in plan_lines(values))
    assert "120,000 train" in said
    assert OTHERS.findall(said) == []


def test_a_search_under_way_has_one_way():
    said = standing(progress()) + printed(lambda out: out.print(live_table(progress(), (), 160)))
    assert "1,024/12,288" in said
    assert "123,457 tokens/s" in said
    assert OTHERS.findall(said) == []


def test_a_study_and_its_page_have_one_way(view):
    view = large(view)
    facts = study_facts(view)
    said = printed(lambda out: showing.print_all(out, view, facts))
    said += printed(lambda out: showing.print_trial(out, view, view.best(), None))
    assert OTHERS.findall(said) == []
    page = re.sub(r"(?s)<(script|style).*?</\1>|<pre.*?</pre>|<[^>]+>", " ", render(view)[:])
    assert "120,000 train" in page
    assert OTHERS.findall(page) == []
