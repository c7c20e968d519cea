import pytest
from loratune.nouns import numbered
from loratune.reports.trial_ends import outcomes
from loratune.reports.verdict import verdict
from loratune.study.format import counted, have_ended, show_bytes, show_seconds, show_short, show_source


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


@pytest.mark.parametrize(
    ("seconds", "words", "about"),
    [
        (0, "0 s", "1 s"),
        (48.4, "48 s", "48 s"),
        (59.7, "1 min", "1 min"),
        (187, "3 min 7 s", "3 min"),
        (3599.6, "1 h", "1 h"),
        (3590, "59 min 50 s", "1 h"),
        (7500, "2 h 5 min", "2 h 5 min"),
        (90_000, "25 h", "25 h"),
    ],
)
def test_a_length_of_time_has_two_units_and_an_estimate_none_below_a_minute(seconds, words, about):
    assert show_seconds(seconds) == words
    assert show_seconds(seconds, about=True) == about


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (show_short(999), "999"),
        (show_short(226_000), "226K"),
        (show_short(999_600), "1000K"),
        (show_short(7_600_000_000), "7.6B"),
        (show_bytes(100), "100 bytes"),
        (show_bytes(1536), "1.5 KiB"),
        (show_bytes(3 * 2**30), "3 GiB"),
        (show_bytes(1020 * 2**10), "1020 KiB"),
        (show_bytes(2**20 - 1), "1024 KiB"),
    ],
)
def test_numbers_are_short(shown, words):
    assert shown == words
