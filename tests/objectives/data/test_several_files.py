"""Files that are trained on together: joined in their order, each read by itself, no record lost or twice."""

from __future__ import annotations

import csv
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.dataset import TokenizedData, load_data
from loratune.objectives.data.sources import look, told_by
from loratune.study.config import DataConfig, DataFile
from tokenized import MakeTokenizer, check_data, questions_of, sums, write_records
from transformers import PreTrainedTokenizerFast

PARTS = ("train", "validation", "test")


def as_table(folder: Path, records: list[dict[str, str]], name: str) -> str:
    """Write records under other names of their columns, as CSV."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Answer", "Question"])
        writer.writerows([one["output"], one["instruction"]] for one in records)
    return str(path)


def same(one: TokenizedData, other: TokenizedData) -> bool:
    """Return whether both have the same tokens in the same order, in every part."""
    pairs = [
        (getattr(getattr(one, part), name), getattr(getattr(other, part), name))
        for part in PARTS
        for name in ("tokens", "offsets", "target")
    ]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(0, 60), min_size=8, max_size=40),
    cuts=st.lists(st.integers(1, 39), min_size=1, max_size=3, unique=True),
    tables=st.lists(st.booleans(), min_size=4, max_size=4),
    seed=st.integers(0, 9),
)
def test_files_joined_are_the_one_file_of_all_their_records(
    tokenizer: PreTrainedTokenizerFast, numbers: list[int], cuts: list[int], tables: list[bool], seed: int
) -> None:
    distinct = list(dict.fromkeys(numbers))
    if len(distinct) < 3:
        return
    records = [record for n in numbers for record in sums(n, n + 1)]
    ends = [0, *sorted(cut for cut in cuts if cut < len(records)), len(records)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [
            as_table(folder, records[start:end], f"{start}.csv")
            if table
            else write_records(folder, records[start:end], f"{start}.jsonl")
            for start, end, table in zip(ends, ends[1:], tables, strict=False)
        ]
        more = tuple(DataFile(path=path) for path in paths[1:])
        joined = load_data(DataConfig(train=paths[0], more=more, seed=seed), tokenizer, cache_dir=None)
        whole = write_records(folder, records, "whole.jsonl")
        alone = load_data(DataConfig(train=whole, seed=seed), tokenizer, cache_dir=None)
    check_data(joined, 1024)
    asked = [question for part in PARTS for question in questions_of(joined, part, tokenizer)]
    assert len(asked) == len(distinct)
    assert all(sum(f" {n}+{n}<" in one for one in asked) == 1 for n in distinct)
    assert same(joined, alone)
    # The examples are the same, so they are fingerprinted alike.
    assert joined.summary.fingerprint == alone.summary.fingerprint
    assert joined.summary.duplicates == alone.summary.duplicates == len(numbers) - len(distinct)


@pytest.fixture
def both(tmp_path: Path) -> DataConfig:
    """Two files, of which the second has other columns and a record that is none."""
    second = Path(as_table(tmp_path, sums(50, 90), "b.csv"))
    with second.open("a", encoding="utf-8") as file:
        file.write(",what\n")
    return DataConfig(
        train=write_records(tmp_path, sums(0, 50), "a.jsonl"), more=(DataFile(path=str(second)),)
    )


def test_what_was_read_is_told_of_each_file(both: DataConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    summary = load_data(both, tokenizer, cache_dir=None).summary
    assert summary.format == "alpaca and prompt_completion"
    assert summary.formats == ("alpaca", "prompt_completion")
    assert {(use.file, use.name, use.used_as) for use in summary.columns} == {
        ("a.jsonl", "instruction", "prompt"),
        ("a.jsonl", "output", "answer"),
        ("b.csv", "Question", "prompt"),
        ("b.csv", "Answer", "answer"),
    }
    assert [bad.where for bad in summary.bad_records] == ["b.csv:42"]
    assert (summary.records, summary.train, summary.validation, summary.test) == (91, 62, 14, 14)


def test_files_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    bad: list[Any] = [*sums(0, 20), {"instruction": "q"}]
    config = DataConfig(
        train=write_records(tmp_path / "a", bad),
        more=(DataFile(path=write_records(tmp_path / "b", [*sums(20, 40), {"instruction": "q"}])),),
    )
    summary = load_data(config, tokenizer, cache_dir=None).summary
    assert [bad.where for bad in summary.bad_records] == ["a/train.jsonl:21", "b/train.jsonl:21"]
    assert {use.file for use in summary.columns} == {"a/train.jsonl", "b/train.jsonl"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "b.jsonl is empty"),
        ('{"instruction": "q"}\n', "b.jsonl has records with the fields 'instruction'"),
        ("no json\n", "b.jsonl has no usable record among 1; the first, line 1"),
        (
            '{"text": "all of it"}\n',
            "b.jsonl is plain text, all of which is learned, and a.jsonl has prompts",
        ),
        ('{"instruction": "q", "output": "a", "label": "x"}\n', "b.jsonl: the column 'label' looks like"),
    ],
)
def test_what_is_wrong_with_a_later_file_names_it(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, content: str, said: str
) -> None:
    (tmp_path / "b.jsonl").write_text(content)
    train = write_records(tmp_path, sums(0, 20), "a.jsonl")
    config = DataConfig(train=train, more=(DataFile(path=str(tmp_path / "b.jsonl")),))
    with pytest.raises(DataError) as caught:
        load_data(config, tokenizer, cache_dir=None)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_of_one_file_are_read_in_it_alone(
    both: DataConfig, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = "".join(f"{one['instruction']},{one['output']}\n" for one in sums(50, 90))
    (tmp_path / "b.csv").write_text(f"Ticket,Reply\n{rows}")
    columns = ("prompt=Ticket", "completion=Reply")
    other = dataclasses.replace(both.more[0], columns=columns)
    found = load_data(dataclasses.replace(both, more=(other,)), tokenizer, cache_dir=None)
    assert (found.summary.records, found.summary.bad) == (90, 0)
    turned = DataConfig(train=other.path, columns=columns, more=(DataFile(path=both.train),))
    assert load_data(turned, tokenizer, cache_dir=None).summary.bad == 0
    for_all = dataclasses.replace(both, columns=columns, more=(other,))
    with pytest.raises(DataError, match=r"a\.jsonl has no column 'Ticket'.*data: \[\{path: .*/a\.jsonl, col"):
        load_data(for_all, tokenizer, cache_dir=None)


def test_one_file_is_known_in_the_cache_by_what_it_always_was(tmp_path: Path) -> None:
    path = Path(write_records(tmp_path, sums(0, 20)))
    held = write_records(tmp_path, sums(20, 30), "held.jsonl")
    found = look(DataConfig(train=str(path), validation=held))
    digests = [one.source.file.digest for one in found]
    assert json.loads(json.dumps(told_by(found))) == {
        "files": {
            "train": ["train.jsonl", digests[0], "alpaca", []],
            "validation": ["held.jsonl", digests[1], "alpaca", []],
        }
    }


def test_each_set_of_files_and_each_order_has_tokens_of_its_own(
    both: DataConfig, tmp_path: Path, make_tokenizer: MakeTokenizer
) -> None:
    tokenizer, cache = make_tokenizer(), tmp_path / "cache"
    turned = DataConfig(train=both.more[0].path, more=(DataFile(path=both.train),))
    found = [
        load_data(config, tokenizer, cache_dir=cache)
        for config in (both, turned, dataclasses.replace(both, more=()), both)
    ]
    assert len(list(cache.glob("tokens-*"))) == 3
    assert len({data.summary.fingerprint for data in found}) == 3
    assert same(found[0], found[3])
    assert found[0].summary == found[3].summary
    # The order says in which one training sees them, not which of them are held out.
    for part in ("validation", "test"):
        assert np.array_equal(getattr(found[0], part).tokens, getattr(found[1], part).tokens)
