from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loratune.objectives.data.encode import encode, opening_ids, shares, truncate
from loratune.objectives.data.templates import Piece, Rendered
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]


def _encoded(
    tokenizer: PreTrainedTokenizerFast, *pieces: Piece, whole: bool = True, add_bos: bool = False
) -> tuple[list[str], str]:
    rendered = Rendered(pieces=pieces, whole=whole, add_bos=add_bos)
    (example,) = encode([rendered], tokenizer)
    ids, mask = example
    assert ids.dtype == np.int32
    assert mask.dtype == np.bool_
    tokens = tokenizer.convert_ids_to_tokens(ids.tolist())
    return tokens, "".join("x" if target else "." for target in mask)


def test_tokens_of_the_answer_are_predicted(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    assert _encoded(tokenizer, ("ab", False), ("cd", True)) == (["a", "b", "c", "d"], "..xx")
    assert _encoded(tokenizer, ("ab", False), ("c", True), ("d", False), ("e", True))[1] == "..x.x"


def test_tokens_after_the_last_answer_are_left_out(make_tokenizer: MakeTokenizer) -> None:
    assert _encoded(make_tokenizer(), ("a", False), ("b", True), ("cd", False))[0] == ["a", "b"]


def test_the_first_token_is_never_predicted(make_tokenizer: MakeTokenizer) -> None:
    assert _encoded(make_tokenizer(), ("abc", True))[1] == ".xx"


def test_characters_of_several_tokens_are_wholly_predicted(make_tokenizer: MakeTokenizer) -> None:
    assert _encoded(make_tokenizer(), ("世", False), ("界", True))[1] == "...xxx"


@pytest.mark.parametrize("whole", [True, False])
def test_a_token_never_lies_half_in_an_answer(make_tokenizer: MakeTokenizer, whole: bool) -> None:
    tokenizer = make_tokenizer(merges=("bc",))
    assert tokenizer.tokenize("abcd") == ["a", "bc", "d"]
    assert _encoded(tokenizer, ("ab", False), ("cd", True), whole=whole) == (["a", "b", "c", "d"], "..xx")
    assert _encoded(tokenizer, ("a", False), ("bcd", True), whole=whole) == (["a", "bc", "d"], ".xx")


def test_a_short_answer_inside_a_token_is_not_lost(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(merges=("ab", "abc"))
    assert tokenizer.tokenize("abc") == ["abc"]
    assert _encoded(tokenizer, ("a", False), ("b", True), ("c", False), ("d", True))[1] == ".x.x"


def test_ids_among_the_pieces_are_taken_as_they_are(make_tokenizer: MakeTokenizer) -> None:
    tokens, mask = _encoded(make_tokenizer(), ("a", False), (1, False), ("b", True), (1, True), whole=False)
    assert (tokens, mask) == (["a", "</s>", "b", "</s>"], "..xx")


def test_the_beginning_of_a_sequence_is_added_once(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer()
    assert opening_ids(tokenizer) == [0]
    assert _encoded(tokenizer, ("a", False), ("b", True), add_bos=True) == (["<s>", "a", "b"], "..x")
    assert _encoded(tokenizer, ("<s>a", False), ("b", True), add_bos=True) == (["<s>", "a", "b"], "..x")
    assert _encoded(tokenizer, ("abc", True), add_bos=True) == (["<s>", "a", "b", "c"], ".xxx")
    assert opening_ids(make_tokenizer(bos=False)) == []


def test_many_at_once_come_in_order(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer(merges=("bc",))
    rendered = [
        Rendered(pieces=((f"{n}b", False), (f"c{n}", True)), whole=n % 3 > 0, add_bos=False)
        for n in range(2500)
    ]
    for number, (ids, mask) in enumerate(encode(rendered, tokenizer)):
        assert tokenizer.decode(ids.tolist()) == f"{number}bc{number}"
        assert tokenizer.decode(ids[mask].tolist()) == f"c{number}"


@pytest.mark.parametrize(
    ("prompt", "answer", "room", "kept"),
    [
        (90, 20, 100, (80, 20)),  # a short answer is kept whole, the prompt is cut
        (20, 90, 100, (20, 80)),  # a short prompt is kept whole, the answer is cut
        (150, 50, 100, (75, 25)),  # both are long: in proportion
        (50, 150, 100, (25, 75)),
        (60, 40, 100, (60, 40)),  # they fit
        (300, 0, 100, (100, 0)),
        (1000, 1, 1, (1, 0)),
    ],
)
def test_prompt_and_answer_share_the_room(prompt: int, answer: int, room: int, kept: tuple[int, int]) -> None:
    assert shares(prompt, answer, room) == kept


lengths = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5)


def _example(turns: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    mask = np.concatenate([np.repeat([False, True], turn) for turn in turns])
    return np.arange(len(mask), dtype=np.int32), mask


@settings(deadline=None)
@given(lengths, st.integers(2, 200))
def test_truncation_never_exceeds_the_cutoff(turns: list[tuple[int, int]], cutoff_len: int) -> None:
    tokens, mask = _example(turns)
    cut, target = truncate(tokens, mask, cutoff_len)
    assert len(cut) == len(target) <= min(cutoff_len, len(tokens))
    assert np.all(np.diff(cut) > 0)
    assert not target[:1].any()
    assert not len(target) or target[-1]
    assert cut[:1].tolist() in ([], [0])
    assert np.array_equal(target, mask[cut])
    if len(tokens) <= cutoff_len:
        assert np.array_equal(cut, tokens)


@settings(deadline=None)
@given(lengths, st.integers(2, 200))
def test_every_turn_is_cut_as_llama_factory_does(turns: list[tuple[int, int]], cutoff_len: int) -> None:
    tokens, mask = _example(turns)
    cut, target = truncate(tokens, mask, cutoff_len)
    room, at = cutoff_len, 0
    expected: list[int] = []
    for prompt, answer in turns:
        if room <= 0:
            break
        kept = shares(prompt, answer, room)
        expected += [*range(at, at + kept[0]), *range(at + prompt, at + prompt + kept[1])]
        room -= sum(kept)
        at += prompt + answer
    assert cut.tolist() == expected[: len(cut)]
    assert not mask[expected[len(cut) :]].any()
    assert np.array_equal(target, mask[cut])
