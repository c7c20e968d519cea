"""How good the answers are, and the worst of them, from what was measured of each example."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from loratune.metrics.labels import label_metrics
from loratune.reports import answer_facts as module
from loratune.reports.answer_facts import WORST, answer_facts
from loratune.reports.answer_words import answer_rows
from loratune.reports.page import render
from loratune.study.facts import Answers
from made_up_studies import with_facts


@pytest.fixture
def measured(view):
    """A study whose trials had their tokens counted and their labels measured."""
    rng = np.random.default_rng(3)
    size = view.budget.final_eval_examples
    tokens = view.base_evaluation.tokens
    evaluations = {
        number: dataclasses.replace(
            found,
            correct=np.minimum(rng.integers(0, 40, size), tokens),
            label_losses=rng.uniform(0, 3, (size // 2, 2)).astype(np.float32),
        )
        for number, found in view.evaluations.items()
    }
    answers = Answers(
        base_correct=tuple(int(count) for count in tokens // 4),
        labels=("yes", "<no>"),
        of_examples=tuple(int(place) for place in rng.integers(0, 2, size)),
        texts=tuple((f"question {place} <b>", f"answer {place}") for place in range(size)),
    )
    return dataclasses.replace(with_facts(view, answers=answers), evaluations=evaluations)


def test_base_model_default_and_best_stand_beside_each_other(measured):
    best, facts = measured.best(), answer_facts(measured)
    base, default, last = facts.answered
    assert base.name == "base model"
    assert default.name == "trial 0 (default)"
    assert last.name == f"trial {best.number} (best)"
    found = measured.evaluations[best.number]
    assert last.loss == pytest.approx(best.value)
    assert last.perplexity == math.exp(last.loss)
    assert last.token_accuracy == found.correct.sum() / found.tokens.sum()
    tokens = measured.base_evaluation.tokens
    assert base.token_accuracy == (tokens // 4).sum() / tokens.sum()
    answers = measured.study.facts.answers
    assert last.labels == label_metrics(found.label_losses, answers.of_examples, answers.labels)
    assert base.labels is None


def test_labels_of_the_base_model_stand_there_too_where_they_were_measured(measured):
    rng = np.random.default_rng(5)
    table = rng.uniform(0, 3, (measured.budget.final_eval_examples, 2)).astype(np.float32)
    answers = measured.study.facts.answers
    known = dataclasses.replace(answers, base_label_losses=tuple(map(tuple, table.tolist())))
    view = with_facts(measured, answers=known)
    base, *_ = answer_facts(view).answered
    assert base.labels == label_metrics(table, answers.of_examples, answers.labels)
    assert base.score is None
    objective = dataclasses.replace(view.study.config.objective, metric="accuracy")
    config = dataclasses.replace(view.study.config, objective=objective)
    view = dataclasses.replace(view, study=dataclasses.replace(view.study, config=config))
    assert answer_facts(view).answered[0].score == view.base_score == base.labels.accuracy


def test_the_worst_examples_are_those_of_the_highest_loss_per_token(measured):
    found = measured.evaluations[measured.best().number]
    means = found.losses / found.tokens
    worst = answer_facts(measured).worst
    assert [one.place for one in worst] == sorted(range(len(means)), key=lambda p: -means[p])[:WORST]
    for one in worst:
        assert one.loss == pytest.approx(float(means[one.place]))
        assert (one.prompt, one.answer) == (f"question {one.place} <b>", f"answer {one.place}")
        base = measured.base_evaluation
        assert one.base_loss == pytest.approx(float(base.losses[one.place] / base.tokens[one.place]))


def test_a_study_of_before_has_losses_alone(view):
    facts = answer_facts(view)
    assert facts.worst == ()
    assert facts.note is None
    assert [name for name, _ in answer_rows(facts.answered)] == ["eval loss", "perplexity"]


def test_a_study_without_a_complete_trial_has_the_base_model_alone(make_view):
    (base,) = answer_facts(make_view(1, states={0: "running"})).answered
    assert base.name == "base model"


def test_without_the_library_the_labels_are_left_out_and_that_is_said(measured, monkeypatch):
    monkeypatch.setattr(module, "has_scikit_learn", lambda: False)
    facts = answer_facts(measured)
    assert "loratune[metrics]" in facts.note
    assert all(one.labels is None for one in facts.answered)


def test_the_page_shows_them_and_no_text_of_the_data_is_taken_for_markup(measured):
    page = render(measured)
    facts = answer_facts(measured)
    assert "question 0 <b>" not in page
    assert f"{facts.worst[0].prompt.replace('<b>', '&lt;b&gt;')}" in page
    assert "&lt;no&gt;" in page
    for name, cells in answer_rows(facts.answered):
        assert f'<th scope="row">{name}</th>' in page
        assert all(f'<td class="num">{cell}</td>' in page for cell in cells)
