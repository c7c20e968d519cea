import pytest
from loratune.reports.format import counted, have_ended, show_source
from loratune.reports.trial_ends import outcomes
from loratune.reports.verdict import verdict
from loratune.spaces.nouns import numbered


@pytest.mark.parametrize(("number", "words"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_thing_is_one_and_any_other_number_several(number, words):
    assert counted(number, "trial") == numbered(number, "trial") == words


def test_how_far_a_study_is_agrees_with_its_number_of_trials():
    assert have_ended(0, 1) == "0 of 1 trial has ended"
    assert have_ended(1, 8) == "1 of 8 trials have ended"


def test_a_study_of_one_trial_is_never_several(make_view):
    view = make_view(1)
    said = [outcomes(view).words, verdict(view).headline, *verdict(view).sentences]
    assert not any("1 trials" in words for words in said)


@pytest.mark.parametrize("source", ["default", "enqueued", "startup", "tpe", "random"])
def test_who_proposed_a_trial_is_said_in_words(source):
    assert len(show_source(source).split()) > 2
