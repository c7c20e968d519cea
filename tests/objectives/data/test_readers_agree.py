"""The same records give the same tokens and masks whatever kind of file they lie in."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loratune.errors import DataError
from loratune.objectives.data.dataset import load_data
from loratune.objectives.data.readers import open_records
from loratune.study.config import DataConfig
from transformers import PreTrainedTokenizerFast

MakeTokenizer = Callable[..., PreTrainedTokenizerFast]

TEMPLATE = (
    "{% for t in tools or [] %}<|im_start|>tool\n{{ t | tojson }}<|im_end|>\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Writes arguments and schemas as they are, so that a null in them is seen."""

TEXT, INT = pyarrow.string(), pyarrow.int64()
PLACE = pyarrow.struct([("lat", pyarrow.float64()), ("lon", pyarrow.float64())])
ARGUMENTS = pyarrow.struct(
    [("x", INT), ("y", INT), ("city", TEXT), ("at", PLACE), ("tags", pyarrow.list_(TEXT))]
)
CALL = pyarrow.struct(
    [("type", TEXT), ("function", pyarrow.struct([("name", TEXT), ("arguments", ARGUMENTS)]))]
)
TURN = pyarrow.struct(
    [("role", TEXT), ("content", TEXT), ("tool_calls", pyarrow.list_(CALL)), ("weight", INT)]
)
SCHEMA = pyarrow.struct([("type", TEXT), ("description", TEXT), ("enum", pyarrow.list_(TEXT))])
TOOL = pyarrow.struct(
    [
        ("name", TEXT),
        ("description", TEXT),
        ("parameters", pyarrow.struct([("x", SCHEMA), ("y", SCHEMA), ("city", SCHEMA)])),
    ]
)
SAID = pyarrow.struct([("from", TEXT), ("value", TEXT)])
COLUMNS = {
    "alpaca": {
        "instruction": TEXT,
        "input": TEXT,
        "output": TEXT,
        "system": TEXT,
        "history": pyarrow.list_(pyarrow.list_(TEXT)),
    },
    "prompt_completion": {"prompt": TEXT, "completion": TEXT, "system": TEXT},
    "text": {"text": TEXT},
    "sharegpt": {"conversations": pyarrow.list_(SAID), "tools": TEXT, "system": TEXT},
    "messages": {"messages": pyarrow.list_(TURN), "tools": pyarrow.list_(TOOL)},
}

words = st.text(st.sampled_from("ab é世\"',\n\r\t\u2028"), min_size=1, max_size=6).map(
    lambda text: f"w{text}"
)


def _some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have any of the fields, in the order of the schema."""
    return st.fixed_dictionaries({}, optional=fields).map(
        lambda found: {name: found[name] for name in fields if name in found}
    )


arguments = _some(
    x=st.integers(0, 9),
    y=st.integers(0, 9),
    city=words,
    at=_some(lat=st.sampled_from([0.5, 1.5]), lon=st.sampled_from([2.5])),
    tags=st.lists(words, max_size=2),
)
schema = _some(type=st.just("string"), description=words, enum=st.lists(words, max_size=2))
tool = st.builds(
    lambda name, more, parameters: {"name": name, **more, "parameters": parameters},
    st.sampled_from(["go", "look"]),
    _some(description=words),
    _some(x=schema, y=schema, city=schema),
)


@st.composite
def _turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 2))):
        turns.append({"role": "user", "content": draw(words)})
        if draw(st.booleans()):
            call = {"type": "function", "function": {"name": "go", "arguments": draw(arguments)}}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
            turns.append({"role": "tool", "content": draw(words)})
        turns.append({"role": "assistant", "content": draw(words)})
        if draw(st.booleans()):
            turns[-1]["weight"] = draw(st.sampled_from([0, 1]))
    if draw(st.booleans()):
        turns.append({"role": "user", "content": draw(words)})
    return turns


def _said(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for turn in turns:
        calls = turn.get("tool_calls")
        if calls:
            found.append({"from": "function_call", "value": json.dumps(calls[0]["function"])})
        else:
            names = {"user": "human", "assistant": "gpt", "tool": "observation"}
            found.append({"from": names[turn["role"]], "value": turn["content"]})
    return found


RECORDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "alpaca": st.fixed_dictionaries(
        {"instruction": words, "output": words},
        optional={
            "input": words,
            "system": words,
            "history": st.lists(st.tuples(words, words).map(list), max_size=2),
        },
    ),
    "prompt_completion": st.fixed_dictionaries(
        {"prompt": words, "completion": words}, optional={"system": words}
    ),
    "text": st.fixed_dictionaries({"text": words}),
    "sharegpt": st.fixed_dictionaries(
        {"conversations": _turns().map(_said)},
        optional={"tools": st.lists(tool, max_size=2).map(json.dumps), "system": words},
    ),
    "messages": st.fixed_dictionaries({"messages": _turns()}, optional={"tools": st.lists(tool, max_size=2)}),
}


def _write(folder: Path, format: str, records: list[dict[str, Any]]) -> dict[str, Path]:  # noqa: A002
    paths = {kind: folder / f"train.{kind}" for kind in ("jsonl", "json", "csv", "parquet")}
    paths["jsonl"].write_text("\n".join(json.dumps(record) for record in records))
    paths["json"].write_text(json.dumps(records, ensure_ascii=False, indent=2), encoding="utf-8")
    with paths["csv"].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS[format])
        for record in records:
            cells = (record.get(name, "") for name in COLUMNS[format])
            writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    table = pyarrow.Table.from_pylist(records, schema=pyarrow.schema(list(COLUMNS[format].items())))
    pyarrow.parquet.write_table(table, paths["parquet"])
    return paths


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: MakeTokenizer) -> PreTrainedTokenizerFast:
    return make_tokenizer("<|im_start|>", "<|im_end|>", chat_template=TEMPLATE)


@pytest.mark.parametrize("format", COLUMNS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_kind_of_file_gives_the_same_tokens(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    format: str,  # noqa: A002
    data: st.DataObject,
) -> None:
    records = data.draw(st.lists(RECORDS[format], min_size=4, max_size=8))
    found: dict[str, Any] = {}
    for kind, path in _write(tmp_path, format, records).items():
        try:
            loaded = load_data(DataConfig(train=str(path), format=format), tokenizer, cache_dir=None)
        except DataError as error:
            found[kind] = str(error).replace(path.name, "FILE").partition("; the first")[0]
            continue
        arrays = [getattr(loaded, part) for part in ("train", "validation", "test")]
        found[kind] = (
            [(part.tokens.tolist(), part.offsets.tolist(), part.target.tolist()) for part in arrays],
            loaded.summary.fingerprint,
            loaded.summary.bad,
            loaded.summary.duplicates,
            loaded.summary.shortened and loaded.summary.shortened.count,
        )
    assert found["json"] == found["jsonl"]
    assert found["csv"] == found["jsonl"]
    assert found["parquet"] == found["jsonl"]


def _called(**arguments: Any) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": "go", "arguments": arguments}}
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    return {"messages": turns}


def _arguments(path: Path, **more: Any) -> list[Any]:
    records = [record for _, record in open_records(path, **more).read()]
    return [record["messages"][1]["tool_calls"][0]["function"]["arguments"] for record in records]  # type: ignore[index]


def test_what_arrow_pads_objects_with_is_no_argument(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [_called(x=0, y=2), _called(city="C1"), _called(city="")]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert _arguments(path) == [{"x": 0, "y": 2}, {"city": "C1"}, {"city": ""}]
    # As a study made before was trained.
    assert _arguments(path, rules=1)[1] == {"x": None, "y": None, "city": "C1"}


def test_a_null_that_the_user_wrote_stays_where_it_can_be_told(tmp_path: Path) -> None:
    rows = [_called(city=None, x=1), _called(x=2)]
    jsonl = tmp_path / "a.jsonl"
    jsonl.write_text("\n".join(json.dumps(row) for row in rows))
    assert _arguments(jsonl) == [{"city": None, "x": 1}, {"x": 2}]
    # As JSON text it stays in Parquet too, and so does one in a list.
    texts = [{"messages": json.dumps(row["messages"])} for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(texts), tmp_path / "a.parquet")
    records = [record for _, record in open_records(tmp_path / "a.parquet").read()]
    assert records == texts
    lists = [{"text": "a", "of": {"list": [1, None, 2], "none": None, "x": 1}}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(lists), tmp_path / "b.parquet")
    assert [record for _, record in open_records(tmp_path / "b.parquet").read()] == [
        {"text": "a", "of": {"list": [1, None, 2], "x": 1}}
    ]


def test_a_map_of_arrow_is_an_object(tmp_path: Path) -> None:
    kind = pyarrow.map_(TEXT, INT)
    table = pyarrow.table({"text": ["a"], "of": pyarrow.array([[("x", 1), ("y", 2)]], kind)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert [record for _, record in open_records(tmp_path / "a.parquet").read()] == [
        {"text": "a", "of": {"x": 1, "y": 2}}
    ]


def test_columns_are_mapped_alike_in_every_kind_of_file(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    records = [{"text": f"q{n}", "label": n % 3, "note": "x"} for n in range(20)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    (tmp_path / "b.json").write_text(json.dumps(records))
    (tmp_path / "c.csv").write_text("text,label,note\n" + "".join(f"q{n},{n % 3},x\n" for n in range(20)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), tmp_path / "d.parquet")
    config = DataConfig(train="", columns=("prompt=text", "completion=label"))
    found = set()
    for path in sorted(tmp_path.iterdir()):
        summary = load_data(dataclasses.replace(config, train=str(path)), tokenizer, cache_dir=None).summary
        found.add((summary.fingerprint, summary.train, summary.duplicates))
        assert [(use.name, use.used_as) for use in summary.columns] == [
            ("text", "prompt"),
            ("label", "answer"),
            ("note", ""),
        ]
    assert len(found) == 1
