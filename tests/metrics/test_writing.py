"""Written answers: the same text or not, and ROUGE-L as the library has it, or by characters."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.metrics.writing import exact_match, marks, parts, rouge_l


@pytest.mark.parametrize(
    ("written", "right", "mark"),
    [("positive", "positive", 1.0), (" two\n words ", "two words", 1.0), ("Two words", "two words", 0.0)],
)
def test_an_exact_match_looks_past_spaces_and_nothing_else(written, right, mark):
    assert exact_match(written, right) == mark


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat's mat.", ["the", "cat", "s", "mat"]),
        ("今天天氣很好", list("今天天氣很好")),
        ("カタカナとひらがな", list("カタカナとひらがな")),
        ("한국어", list("한국어")),
        ("GPT-4 很好", ["gpt", "4", "很", "好"]),
        ("Это слова", ["это", "слова"]),
    ],
)
def test_a_text_is_words_or_characters_by_its_script(text, expected):
    assert parts(text) == expected


ASCII = st.text(st.sampled_from("abcDE xyz.,'-0123\n"), max_size=40)


@given(ASCII, ASCII)
@settings(max_examples=60, deadline=None)
def test_rouge_l_of_english_is_the_librarys_own(written, right):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    assert rouge_l(written, right) == scorer.score(right, written)["rougeL"].fmeasure


def test_rouge_l_of_chinese_goes_by_characters():
    pytest.importorskip("rouge_score")
    # Five of six characters in order, of both texts.
    assert rouge_l("今天天氣不好", "今天天氣很好") == pytest.approx(5 / 6)


def test_each_answer_has_its_own_mark():
    assert marks("exact_match", ["a", "b"], ["a", "c"]) == (1.0, 0.0)
