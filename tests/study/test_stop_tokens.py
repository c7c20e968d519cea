import pytest
from loratune.study.stop_tokens import (
    Endings,
    ending_sentence,
    ending_warnings,
    eos_token_ids,
    stops_differ,
)

AGREES = Endings(
    tokens=("</s>",), ids=(2,), model_tokens=("</s>", "<s>"), model_ids=(2, 1), tokenizer_token="</s>"
)
DIFFERS = Endings(
    tokens=("<|im_end|>",), ids=(7,), model_tokens=("</s>",), model_ids=(2,), tokenizer_token="</s>"
)


def test_where_the_model_stops_by_itself_that_is_all_there_is_to_say():
    assert not stops_differ(AGREES)
    assert ending_sentence(AGREES) == "an answer ends with </s> in training, where the model stops by itself"
    assert ending_warnings(AGREES) == ()
    assert eos_token_ids(AGREES, [2, 1]) == [2, 1]


def test_a_stop_that_the_model_does_not_know_is_one_sentence_with_all_three():
    assert stops_differ(DIFFERS)
    assert ending_sentence(DIFFERS) == (
        "an answer ends with <|im_end|> in training, but the model's generation config stops at </s> and its "
        "tokenizer ends with </s>; the folder that tune export --format peft writes stops at <|im_end|> "
        "and </s>"
    )
    assert eos_token_ids(DIFFERS, [2]) == [7, 2]


def test_a_model_that_stops_nowhere_is_said():
    words = ending_sentence(Endings(tokens=("<eot>",), ids=(7,)))
    assert words is not None
    assert "generation config names no stop; the folder" in words


def test_a_study_from_before_says_nothing():
    assert ending_sentence(Endings()) is None
    assert not stops_differ(Endings())
    assert ending_warnings(Endings()) == ()


@pytest.mark.parametrize(
    ("endings", "words"),
    [
        (
            Endings(added=True, tokenizer_token="</s>"),
            "ends an answer with no token, so </s> is put after",
        ),
        (Endings(inside=1), "1 training example has a stop token inside an answer"),
        (Endings(inside=3), "3 training examples have a stop token inside an answer"),
        (Endings(prompts=16, prompts_differ=8), "tokenizes 8 of 16 made-up prompts otherwise"),
    ],
)
def test_what_else_there_is_to_know_is_said(endings, words):
    (found,) = ending_warnings(endings)
    assert words in found
