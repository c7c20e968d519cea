from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.dataset import load_data
from loratune.study.config import DataConfig
from tokenized import (
    CHATML,
    MakeTokenizer,
    answers_of,
    check_data,
    examples_of,
    questions_of,
    sums,
    write_records,
)
from transformers import PreTrainedTokenizerFast


def test_alpaca_records_become_questions_and_answers(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = load_data(DataConfig(train=write_records(tmp_path, sums(0, 100))), tokenizer, cache_dir=None)
    check_data(data, 1024)
    assert data.summary.format == "alpaca"
    assert data.summary.template == "default"
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 15, 15)
    tokens, target = data.train.example(0)
    assert tokenizer.decode(tokens.tolist()) in (
        f"<s>Human: {n}+{n}</s>\nAssistant:{2 * n}</s>" for n in range(100)
    )
    assert tokenizer.decode(tokens[target].tolist()).endswith("</s>")


def test_the_model_s_own_template_is_taken_where_it_has_one(
    tmp_path: Path, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=CHATML)
    config = DataConfig(train=write_records(tmp_path, sums(1, 9)))
    data = load_data(config, tokenizer, cache_dir=None)
    assert data.summary.template == "model's own"
    assert data.summary.rendered.startswith("<|im_start|>user\n")
    named = load_data(dataclasses.replace(config, template="alpaca"), tokenizer, cache_dir=None)
    assert named.summary.template == "alpaca"
    assert "### Response:\n⟦" in named.summary.rendered


def test_a_study_of_the_first_rules_keeps_answers_that_end_in_no_token(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = DataConfig(train=write_records(tmp_path, sums(0, 9)), template="chatml", split=(0.8, 0.2, 0.0))
    now = load_data(config, tokenizer, cache_dir=None)
    before = load_data(dataclasses.replace(config, rules=1), tokenizer, cache_dir=None)
    assert all(answer.endswith("<|im_end|></s>") for answer in answers_of(now.train, tokenizer))
    assert all(answer.endswith("<|im_end|>") for answer in answers_of(before.train, tokenizer))
    assert now.summary.fingerprint != before.summary.fingerprint


def test_the_rendered_example_marks_what_is_predicted(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    record = {"instruction": "Q2", "output": "A2", "history": [["Q1", "A1"]]}
    path = write_records(tmp_path, [record, *sums(0, 2)])
    data = load_data(DataConfig(train=path, split=(0.9, 0.1, 0.0)), tokenizer, cache_dir=None)
    texts = {
        "<s>Human: Q1</s>\nAssistant:⟦A1</s>⟧\nHuman: Q2</s>\nAssistant:⟦A2</s>⟧",
        "<s>Human: 0+0</s>\nAssistant:⟦0</s>⟧",
    }
    assert data.summary.rendered in texts


def test_plain_text_is_predicted_from_the_second_token_on(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    path = write_records(tmp_path, [{"text": f"text {n}"} for n in range(10)])
    data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
    check_data(data, 1024)
    assert data.summary.template == "none"
    assert data.summary.target_tokens == data.summary.tokens - len(data.train)
    assert all(answer.endswith("</s>") for answer in answers_of(data.train, tokenizer))


def test_repeats_are_dropped_and_counted(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    records = sums(0, 40)
    path = write_records(tmp_path, [*records, *records[:7], {**records[0], "input": ""}])
    data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
    check_data(data, 1024)
    assert data.summary.duplicates == 8


def test_records_that_are_equal_once_they_are_cut_are_repeats(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    records = [{"instruction": "q", "output": "x" * 100 + str(n)} for n in range(5)]
    path = write_records(tmp_path, [*records, *sums(0, 10)])
    data = load_data(DataConfig(train=path, cutoff_len=60), tokenizer, cache_dir=None)
    check_data(data, 60)
    assert data.summary.duplicates == 4
    assert data.summary.truncated == 1


def test_the_user_s_own_files_win_over_the_training_file(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    config = DataConfig(
        train=write_records(tmp_path, sums(0, 20)),
        validation=write_records(tmp_path, sums(15, 25), "validation.jsonl"),
        test=write_records(tmp_path, sums(24, 27), "test.jsonl"),
    )
    data = load_data(config, tokenizer, cache_dir=None)
    check_data(data, 1024)
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 9, 3)
    assert data.summary.duplicates == 6
    assert any("24+24" in question for question in questions_of(data, "test", tokenizer))


@pytest.mark.parametrize(("given_part", "made_part"), [("validation", "test"), ("test", "validation")])
def test_a_split_without_a_file_is_taken_out_of_training(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, given_part: str, made_part: str
) -> None:
    more = {given_part: write_records(tmp_path, sums(100, 110), "more.jsonl")}
    data = load_data(
        DataConfig(train=write_records(tmp_path, sums(0, 100)), **more), tokenizer, cache_dir=None
    )  # type: ignore[arg-type]
    check_data(data, 1024)
    assert (len(data.train), len(getattr(data, made_part)), len(getattr(data, given_part))) == (85, 15, 10)


def test_files_that_hold_the_same_are_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write_records(tmp_path, sums(0, 20))
    with pytest.raises(DataError, match=r"every record of train\.jsonl is also in another file"):
        load_data(DataConfig(train=path, validation=path), tokenizer, cache_dir=None)


def test_the_seed_decides_the_split(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    path = write_records(tmp_path, sums(0, 60))
    one, same, other = (
        load_data(DataConfig(train=path, seed=seed), tokenizer, cache_dir=None) for seed in (0, 0, 1)
    )
    assert one.summary == same.summary
    assert np.array_equal(one.train.tokens, same.train.tokens)
    assert examples_of(one.test) != examples_of(other.test)
    assert one.summary.fingerprint != other.summary.fingerprint


def test_the_test_set_is_the_same_for_every_model(tmp_path: Path, make_tokenizer: MakeTokenizer) -> None:
    path = write_records(tmp_path, sums(0, 60))
    chat = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=CHATML, merges=("10",))
    mine = make_tokenizer()
    found = []
    for tokenizer in (chat, mine):
        data = load_data(DataConfig(train=path), tokenizer, cache_dir=None)
        found.append([answer[:-1] for answer in answers_of(data.test, tokenizer)])
    numbers = [[answer.split("<")[0] for answer in answers] for answers in found]
    assert numbers[0] == numbers[1]


words = st.text("ab \n", min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    records=st.lists(
        st.fixed_dictionaries(
            {"instruction": words, "output": words},
            optional={"history": st.lists(st.tuples(words, words), max_size=2), "system": words},
        ),
        min_size=3,
        max_size=30,
    ),
    cutoff_len=st.integers(2, 120),
    seed=st.integers(0, 3),
    template=st.sampled_from(["auto", "alpaca", "chatml", "plain"]),
)
def test_whatever_the_records_no_example_is_in_two_splits_or_too_long(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    records: list[dict[str, Any]],
    cutoff_len: int,
    seed: int,
    template: str,
) -> None:
    config = DataConfig(
        train=write_records(tmp_path, records), cutoff_len=cutoff_len, seed=seed, template=template
    )
    try:
        data = load_data(config, tokenizer, cache_dir=None)
    except DataError:
        return
    assert data.summary.records == len(records)
    check_data(data, cutoff_len)
    if data.summary.truncated:
        return
    # This tokenizer has no token of ChatML's, so its own ends the answer.
    end = "<|im_end|></s>" if template == "chatml" else "</s>"
    expected = {
        "".join(
            answer + end for answer in (*(pair[1] for pair in record.get("history", ())), record["output"])
        )
        for record in records
    }
    for part in (data.train, data.validation, data.test):
        assert set(answers_of(part, tokenizer)) <= expected
