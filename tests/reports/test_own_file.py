"""Trial 0 from a file of the user's own trainer goes by the file's name wherever it is spoken of."""

import dataclasses

import numpy as np
import pytest
from loratune.reports.confirm_table import row_of
from loratune.reports.confirm_words import headline, sentences, warnings
from loratune.reports.confirmation import confirmation
from loratune.reports.page import render
from loratune.reports.verdict import verdict
from loratune.spaces.params import LoraParams
from made_up_confirmations import DEFAULT, draw, make_confirmation
from made_up_confirmations import params as confirmed_params

NAME = "train.yaml"


def params(rate):
    return LoraParams(learning_rate=rate, batch_size=8, lora_rank=8, lora_alpha=16.0, warmup_ratio=0.05)


def named(view):
    config = dataclasses.replace(view.study.config, default_name=NAME)
    return dataclasses.replace(view, study=dataclasses.replace(view.study, config=config))


def test_the_best_is_compared_with_it_by_name(make_view):
    view = named(make_view(2, params={0: params(0.005), 1: params(0.02)}))
    assert verdict(view).default.words.startswith("Trial 0 (train.yaml) has ")
    assert view.source_of(view.trials[0]) == NAME
    assert view.source_of(view.trials[1]) == view.trials[1].source


def test_where_it_is_the_best_that_is_said_by_name(make_view):
    view = named(make_view(2, params={0: params(0.02), 1: params(0.005)}))
    assert "It is trial 0, what train.yaml trains with: no other trial did better." in verdict(view).sentences


def test_the_page_knows_no_default(make_view):
    page = render(named(make_view(2, params={0: params(0.005), 1: params(0.02)})))
    assert "“train.yaml” is what that file trains with" in page
    assert "known-good" not in page


@pytest.mark.parametrize("means", [(1.0, 1.3), (1.3, 1.0), (1.0, 1.0)])
def test_a_confirmation_speaks_of_it_by_name(means):
    losses = draw(np.random.default_rng(0), means, seeds=5, examples=150, seed_noise=0.02, example_noise=0.02)
    configurations = (confirmed_params(16), DEFAULT)
    found = confirmation(named(make_confirmation(losses, trials=(7, 0), configurations=configurations)))
    own = next(one for one in found.configurations if one.default)
    said = " ".join((headline(found), *warnings(found), *sentences(found), row_of(found, own).says))
    assert NAME in said
    assert "default" not in said
