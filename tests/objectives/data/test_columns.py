"""Which column says what, and that none is dropped without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loratune.errors import DataError
from loratune.objectives.data.columns import Reading, choose, parse_columns
from loratune.objectives.data.formats import FORMATS, Conversation, PlainText, RecordError
from loratune.objectives.data.readers import open_records
from loratune.objectives.data.survey import survey
from loratune.study.config import DataConfig


def _reading(folder: Path, records: list[Any], *, name: str = "a.jsonl", **more: Any) -> Reading:
    path = folder / name
    path.write_text("\n".join(json.dumps(record) for record in records))
    return choose(name, survey(open_records(path)), DataConfig(train=str(path), **more))


def _texts(reading: Reading, record: dict[str, Any]) -> list[tuple[str, str]]:
    parsed = reading.parse(record)
    assert isinstance(parsed, Conversation)
    return [(turn.role, turn.content) for turn in parsed.turns]


@pytest.mark.parametrize(
    ("format", "fields"),
    [
        ("alpaca", ("instruction", "input", "output")),
        ("alpaca", ("instruction", "input", "output", "id", "source", "history", "system")),
        ("sharegpt", ("conversations", "tools")),
        ("messages", ("messages",)),
        ("messages", ("messages", "prompt", "category")),
        ("prompt_completion", ("prompt", "completion")),
        ("text", ("text", "id", "label_id", "document_url")),
    ],
)
def test_a_format_is_known_by_its_fields(tmp_path: Path, format: str, fields: tuple[str, ...]) -> None:  # noqa: A002
    reading = _reading(tmp_path, [dict.fromkeys(fields, "x")])
    assert (reading.format, reading.columns) == (format, ())


def test_the_format_of_most_records_is_the_file_s(tmp_path: Path) -> None:
    records = [{"text": "x"}, *[{"instruction": "a", "output": "b"}] * 2]
    assert _reading(tmp_path, records).format == "alpaca"


def test_unknown_fields_are_named_with_what_is_expected(tmp_path: Path) -> None:
    expected = r"has records with the fields 'original', 'disfluent': none of.*--columns prompt="
    with pytest.raises(DataError, match=expected) as one:
        _reading(tmp_path, [{"original": "x", "disfluent": "y"}])
    assert all(name in str(one.value) for name in FORMATS)
    with pytest.raises(DataError, match=r"is one JSON object, not a list.* and 4 more"):
        _reading(tmp_path, [{str(number): {} for number in range(10)}], name="a.json")


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [("question", "answer"), ("query", "response"), ("input", "output"), ("Prompt", "Completion")],
)
def test_a_prompt_and_an_answer_are_known_by_other_names(tmp_path: Path, prompt: str, answer: str) -> None:
    record = {"id": 7, prompt: "Q", answer: "A"}
    assert _texts(_reading(tmp_path, [record]), record) == [("user", "Q"), ("assistant", "A")]


def test_an_instruction_and_its_input_may_have_a_response(tmp_path: Path) -> None:
    record = {"instruction": "Add.", "input": "1+1", "response": "2"}
    assert _texts(_reading(tmp_path, [record]), record) == [("user", "Add.\n1+1"), ("assistant", "2")]


@pytest.mark.parametrize(
    "names",
    [("question", "query", "answer"), ("question", "answer", "response"), ("input", "prompt", "output")],
)
def test_what_is_not_certain_is_asked(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(
        DataError, match=r"is not certain, so say it, such as --columns prompt=\w+,completion="
    ):
        _reading(tmp_path, [dict.fromkeys(names, "x")])


@pytest.mark.parametrize(
    ("fields", "column", "settled"),
    [
        (("text", "label"), "label", ["--format text", "--columns prompt=text,completion=label"]),
        (("text", "Category"), "Category", ["--columns prompt=text,completion=Category"]),
        (("text", "gold_intent"), "gold_intent", ["--format text"]),
        (
            ("instruction", "context", "output"),
            "context",
            ["--format alpaca", "--columns prompt=instruction,context,completion=output"],
        ),
        (
            ("instruction", "input", "output", "category"),
            "category",
            ["--format alpaca", "--columns prompt=instruction,category,completion=output"],
        ),
        (
            ("question", "passage", "answer"),
            "passage",
            [
                "--columns prompt=question,completion=answer",
                "--columns prompt=question,passage,completion=answer",
            ],
        ),
        (
            ("messages", "context"),
            "context",
            ["--columns messages=messages,system=context", "--format messages"],
        ),
        (("text", "source document"), "source document", ["--columns 'text=source document,text'"]),
    ],
)
def test_a_likely_label_or_context_is_not_left_unused_without_a_word(
    tmp_path: Path, fields: tuple[str, ...], column: str, settled: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        _reading(tmp_path, [dict.fromkeys(fields, "x")])
    message = str(caught.value)
    assert "\n" not in message
    assert repr(column) in message
    for flag in settled:
        assert flag in message
    # What the message says settles it.
    for flag in settled:
        option, _, value = flag.partition(" ")
        more: dict[str, Any] = (
            {"format": value} if option == "--format" else {"columns": parse_columns(value.strip("'"))}
        )
        _reading(tmp_path, [dict.fromkeys(fields, "x")], **more)


def test_a_column_that_holds_nothing_is_not_missed(tmp_path: Path) -> None:
    assert _reading(tmp_path, [{"text": "a", "label": ""}, {"text": "b", "label": None}]).format == "text"


def test_a_study_made_by_the_first_rules_keeps_its_reading(tmp_path: Path) -> None:
    assert _reading(tmp_path, [{"text": "a", "label": "b"}], rules=1).format == "text"


def test_columns_say_what_each_is(tmp_path: Path) -> None:
    record = {"instruction": "Answer.", "context": "Rome is old.", "output": "Yes.", "who": "A sage."}
    columns = parse_columns("system=who,prompt=instruction,context,completion=output")
    reading = _reading(tmp_path, [record], columns=columns)
    assert _texts(reading, record) == [
        ("system", "A sage."),
        ("user", "Answer.\n\nRome is old."),
        ("assistant", "Yes."),
    ]
    assert _texts(reading, {**record, "context": "", "who": None}) == [
        ("user", "Answer."),
        ("assistant", "Yes."),
    ]
    with pytest.raises(RecordError, match="'output', its answer, is empty"):
        reading.parse({**record, "output": None})
    with pytest.raises(RecordError, match="'instruction' and 'context', its prompt, are empty"):
        reading.parse({"output": "a"})


@pytest.mark.parametrize(("label", "word"), [(1, "1"), (True, "true"), (0.5, "0.5"), ("x", "x")])
def test_a_label_may_be_a_number(tmp_path: Path, label: object, word: str) -> None:
    record = {"text": "good", "label": label}
    reading = _reading(tmp_path, [record], columns=("prompt=text", "completion=label"))
    assert _texts(reading, record)[-1] == ("assistant", word)


def test_plain_text_may_be_joined_of_several_columns(tmp_path: Path) -> None:
    record = {"title": "T", "body": "B"}
    reading = _reading(tmp_path, [record], columns=parse_columns("text=title,body"))
    assert reading.parse(record) == PlainText(text="T\n\nB")


def test_columns_are_written_as_text_or_as_a_mapping() -> None:
    text = parse_columns("prompt=instruction, context,completion=output")
    assert text == ("prompt=instruction", "prompt=context", "completion=output")
    assert parse_columns({"prompt": ["instruction", "context"], "completion": "output"}) == text
    assert parse_columns({"prompt": "a=b", "completion": "c,d"}) == ("prompt=a=b", "completion=c,d")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("instruction", "is no list of role=column"),
        ("prompt=", "is no list of role=column"),
        ("promt=a,completion=b", "did you mean 'prompt'?"),
        ("prompt=a", "'completion' is missing beside 'prompt'; write prompt=…,completion=…"),
        ("output=a", "'instruction' is missing beside 'output'"),
        ("system=a", "no record is made of 'system' alone"),
        ("prompt=a,completion=b,input=c", "'input' does not go with prompt and completion"),
        ("text=a,a", "twice"),
    ],
)
def test_columns_that_make_no_record_are_refused(given: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_columns(given)
    assert said in str(caught.value)


def test_a_column_that_is_not_there_is_refused_with_the_nearest(tmp_path: Path) -> None:
    columns = ("prompt=qestion", "completion=answer")
    with pytest.raises(DataError, match=r"a.jsonl has no column 'qestion' \(did you mean 'question'\?\)"):
        _reading(tmp_path, [{"question": "a", "answer": "b"}], columns=columns)
    with pytest.raises(DataError, match="--format is text"):
        _reading(
            tmp_path,
            [{"text": "a", "label": "b"}],
            columns=("prompt=text", "completion=label"),
            format="text",
        )


def test_every_column_is_accounted_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": 1, "instruction": "a", "input": "", "output": "b", "note": "c"}))
    found = survey(open_records(path))
    uses = choose("a.jsonl", found, DataConfig(train=str(path))).uses("a.jsonl", found)
    assert {use.name: use.used_as for use in uses} == {
        "id": "",
        "instruction": "prompt",
        "input": "prompt",
        "output": "answer",
        "note": "",
    }
