"""Who answers no better than one label for all is said to: by verdict, page and confirmation in one line."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from loratune.metrics.scoring import score_of
from loratune.reports.confirm_table import row_of
from loratune.reports.confirm_words import headline, sentences, warnings
from loratune.reports.confirmation import confirmation
from loratune.reports.one_label import no_better_than_one_label
from loratune.reports.page import render
from loratune.reports.verdict import verdict
from loratune.study.facts import Answers
from loratune.study.records import Evaluation
from made_up_confirmations import make_confirmation, params
from made_up_studies import with_facts

SIZE = 60
RIGHT = np.arange(SIZE) % 5 % 3  # 0 twice as often as 1, and 2 a fifth
ANSWERS = Answers(labels=("a", "b", "c"), of_examples=tuple(RIGHT.tolist()))
ALWAYS = np.zeros(SIZE, np.int64)
WORDS = "no better than always the most frequent label"


def saying(found: np.ndarray, loss: float = 1.0) -> Evaluation:
    """An evaluation whose likeliest labels are these."""
    return Evaluation(
        losses=np.full(len(found), 10 * loss, np.float32),
        tokens=np.full(len(found), 10, np.int64),
        correct=np.full(len(found), 5, np.int64),
        label_losses=np.where(np.arange(3) == found[:, None], 0.1, 1.0).astype(np.float32),
        marks=(found == RIGHT[: len(found)]).astype(np.float32),
    )


@pytest.mark.parametrize("metric", ["loss", "token_accuracy", "accuracy", "f1_macro", "exact_match"])
def test_it_is_said_of_one_label_for_all_and_of_no_one_who_knows_more(metric):
    always, better = saying(ALWAYS), saying(np.where(np.arange(SIZE) == 1, RIGHT, ALWAYS))
    for found, expected in ((always, True), (better, False)):
        said = no_better_than_one_label("the trial", metric, score_of(metric, found, ANSWERS), found, ANSWERS)
        assert (said is not None and WORDS in said) is expected
    assert no_better_than_one_label("the trial", metric, None, always, Answers()) is None
    assert no_better_than_one_label("the trial", metric, None, None, ANSWERS) is None


@pytest.mark.parametrize(("metric", "value"), [("accuracy", "0.4000"), ("f1_macro", "0.1905")])
def test_what_one_label_is_worth_is_that_metric_of_it(metric, value):
    found = saying(ALWAYS)
    said = no_better_than_one_label("the trial", metric, score_of(metric, found, ANSWERS), found, ANSWERS)
    assert f"{value}, that label alone {value})" in said


def test_the_verdict_and_the_page_say_it_in_the_same_line(view):
    size = view.budget.final_eval_examples
    answers = Answers(labels=("a", "b", "c"), of_examples=tuple((np.arange(size) % 5 % 3).tolist()))
    one = np.where(np.arange(3) == np.zeros((size, 1)), 0.1, 1.0).astype(np.float32)
    spoilt = {
        number: dataclasses.replace(found, label_losses=one) for number, found in view.evaluations.items()
    }
    poor = dataclasses.replace(with_facts(view, answers=answers), evaluations=spoilt)
    found = verdict(poor)
    assert WORDS in found.one_label
    assert found.sentences[0] == found.one_label
    assert "but no better than always the same label" in found.headline
    assert render(poor).count(WORDS) == 1
    assert verdict(view).one_label is None


def confirmed(found, losses=(1.0, 1.1)):
    """Two configurations under two seeds, which all answer so."""
    measured = [[saying(found, loss) for _ in range(2)] for loss in losses]
    view = make_confirmation(measured, trials=(7, 0), configurations=(params(), params(rank=4)))
    config = view.study.config
    objective = dataclasses.replace(config.objective, metric="accuracy")
    study = dataclasses.replace(
        view.study,
        config=dataclasses.replace(config, objective=objective),
        facts=dataclasses.replace(view.study.facts, answers=ANSWERS),
    )
    trials = tuple(
        dataclasses.replace(one, score=score_of("accuracy", view.evaluations[one.number], ANSWERS))
        for one in view.trials
    )
    return confirmation(dataclasses.replace(view, study=study, trials=trials))


def test_a_confirmation_says_it_and_no_interval_without_width_is_printed():
    found = confirmed(ALWAYS)
    assert WORDS in warnings(found)[0]
    said = " ".join((headline(found), *sentences(found), *row_of(found, found.configurations[1]).cells))
    assert "0.4000 to 0.4000" not in said
    assert "+0.0000" not in said
    assert "the same under every seed" in headline(found)
    assert not any("LoRA is" in one for one in sentences(found))
    assert warnings(confirmed(RIGHT)) == ()


def test_trials_that_answer_every_example_alike_are_not_told_apart_by_an_interval(view):
    best = view.best().number
    same = dict.fromkeys(view.evaluations, view.evaluations[best])
    found = verdict(dataclasses.replace(view, evaluations=same))
    assert found.ties
    assert found.alike
    said = " ".join(found.sentences)
    assert "the same on every example" in said
    assert "includes 0" not in said
