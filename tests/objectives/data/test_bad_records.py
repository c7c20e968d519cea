"""Records that are left out: counted, named by their place, and never the end of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from loratune.errors import DataError
from loratune.objectives.data import dataset, left_out
from loratune.objectives.data.dataset import load_data
from loratune.study.config import DataConfig
from tokenized import (
    CHATML,
    MakeTokenizer,
    check_data,
    sums,
    write_records,
)
from transformers import PreTrainedTokenizerFast


def test_bad_records_are_counted_and_named(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    lines = [json.dumps(record) for record in sums(0, 10)]
    lines[2] = '{"instruction": "x", "output"'
    lines[5] = '{"instruction": "x", "output": ""}'
    lines.extend('{"instruction": "y"}' for _ in range(30))
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines))
    validation = write_records(tmp_path, [{"text": "no"}, *sums(50, 52)], "validation.jsonl")
    data = load_data(DataConfig(train=str(path), validation=validation), tokenizer, cache_dir=None)
    check_data(data, 1024)
    summary = data.summary
    assert summary.bad == 33
    assert len(summary.bad_records) == 33
    assert [(bad.file, bad.line) for bad in summary.bad_records[:3]] == [
        ("train.jsonl", 3),
        ("train.jsonl", 6),
        ("train.jsonl", 11),
    ]
    assert summary.bad_records[1].reason == "'output' is empty"
    assert summary.bad_records[-1].where == "validation.jsonl:1"


def test_bad_records_beyond_the_bound_are_counted_alone(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "BAD_RECORDS_KEPT", 4)
    monkeypatch.setattr(dataset, "BAD_RECORDS_KEPT", 4)
    path = write_records(tmp_path, [*sums(0, 10), *[{"instruction": "y"}] * 7])
    summary = load_data(DataConfig(train=path), tokenizer, cache_dir=None).summary
    assert summary.bad == 7
    assert [bad.line for bad in summary.bad_records] == [11, 12, 13, 14]


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("a.jsonl", "a.jsonl:3"),
        ("a.csv", "a.csv:4"),
        ("a.json", "a.json: record 3"),
        ("a.parquet", "a.parquet: record 3"),
    ],
)
def test_a_bad_record_is_named_by_what_its_file_counts(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, name: str, where: str, cached: bool
) -> None:
    records = sums(0, 9)
    records[2]["output"] = ""
    path = tmp_path / name
    if name == "a.json":
        path.write_text(json.dumps(records, indent=2))
    elif name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif name == "a.csv":
        rows = [f"{record['instruction']},{record['output']}" for record in records]
        path.write_text("\n".join(["instruction,output", *rows]))
    else:
        write_records(tmp_path, records, name)
    cache = tmp_path / "cache" if cached else None
    data = load_data(DataConfig(train=str(path)), tokenizer, cache_dir=cache)
    (bad,) = data.summary.bad_records
    assert (bad.where, bad.reason) == (where, "'output' is empty")


def test_a_record_that_the_template_refuses_is_a_bad_one(
    tmp_path: Path, make_tokenizer: MakeTokenizer
) -> None:
    template = "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}" + CHATML
    tokenizer = make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=template)
    long = {"instruction": "x", "output": "y", "history": [["a", "b"]]}
    data = load_data(
        DataConfig(train=write_records(tmp_path, [long, *sums(0, 5)])), tokenizer, cache_dir=None
    )
    (bad,) = data.summary.bad_records
    assert bad.line == 1
    assert bad.reason == "the model's chat template refuses it: too many"


@pytest.mark.parametrize(
    ("records", "more", "message"),
    [
        (
            [{"instruction": "x"}],
            {"format": "alpaca"},
            "train.jsonl has no usable record among 1; the first, line 1: no field",
        ),
        (["x", 2], {}, "train.jsonl has no usable record among 2; the first, line 1: a record must be"),
        (sums(0, 2), {}, "2 distinct examples cannot be split into train, validation and test: at least 3"),
        ([sums(0, 1)[0]] * 9, {}, "1 distinct example cannot be split"),
        ([{"a": 1}], {}, "train.jsonl has records with the fields 'a': none of the known formats"),
        (sums(0, 9), {"cutoff_len": 1}, "cutoff_len is 1, but an example needs at least 2 tokens"),
        (sums(0, 9), {"template": "vicuna"}, "the template 'vicuna' is not known"),
        (sums(0, 9), {"format": "csv"}, "the format 'csv' is not known"),
        (sums(0, 9), {"split": (0.5, 0.5, 0.5)}, "the split (0.5, 0.5, 0.5) is not valid"),
        (
            [{"instruction": "x" * 200, "output": f"{n}"} for n in range(9)],
            {"cutoff_len": 3},
            "cutoff_len 3 leaves nothing of any answer in train.jsonl: give a greater --cutoff-len",
        ),
    ],
)
def test_what_leaves_nothing_to_train_on_is_one_line(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, records: list[Any], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_data(DataConfig(train=write_records(tmp_path, records), **more), tokenizer, cache_dir=None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_cut_away_is_a_bad_record(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    records = [{"instruction": "x" * 2000, "output": "y" * 25}, *sums(0, 9)]
    data = load_data(
        DataConfig(train=write_records(tmp_path, records), cutoff_len=40), tokenizer, cache_dir=None
    )
    (bad,) = data.summary.bad_records
    assert bad.line == 1
    assert bad.reason == "cut from 2046 tokens to cutoff_len 40, it has no answer left"
