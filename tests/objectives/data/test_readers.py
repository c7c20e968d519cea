from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from loratune.errors import DataError
from loratune.objectives.data.readers import RecordFile, open_records
from loratune.objectives.data.survey import survey
from loratune.study.facts import BadRecord

ROWS = [{"instruction": "a", "output": "b"}, {"instruction": "é", "output": "世界"}]


def _written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _records(file: RecordFile) -> list[tuple[int, object]]:
    return [(number, record) for number, record in file.read() if not isinstance(record, str)]


def _values(file: RecordFile) -> list[object]:
    return [record for _, record in _records(file)]


def _bad(file: RecordFile) -> list[BadRecord]:
    return [
        BadRecord(file=file.name, line=number, reason=found, place=file.place)
        for number, found in file.read()
        if isinstance(found, str)
    ]


def _refusal(path: Path, encoding: str = "utf-8") -> str:
    with pytest.raises(DataError) as caught:
        survey(open_records(path, encoding=encoding))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_same_records_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    table = pyarrow.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, tmp_path / "d.parquet")
    paths = [
        _written(tmp_path, "a.json", json.dumps(ROWS, indent=1)),
        _written(tmp_path, "b.jsonl", lines),
        _written(tmp_path, "c.csv", "instruction,output\na,b\né,世界\n"),
        tmp_path / "d.parquet",
        _written(tmp_path, "lines-in.json", lines),
        _written(tmp_path, "array-in.jsonl", json.dumps(ROWS)),
    ]
    for path in paths:
        assert _values(open_records(path)) == ROWS, path.name


@pytest.mark.parametrize(
    ("name", "place", "numbers"),
    [("a.jsonl", "line", [2, 4]), ("a.json", "record", [1, 2]), ("a.csv", "line", [2, 4])],
)
def test_a_record_is_known_by_its_line_or_its_position(
    tmp_path: Path, name: str, place: str, numbers: list[int]
) -> None:
    content = {
        "a.jsonl": '\n{"text": "x"}\n\n{"text": "y"}\n',
        "a.json": '[\n\n{"text": "x"},\n{"text": "y"}]',
        "a.csv": 'text\n"two\nlines"\nlast\n',
    }[name]
    file = open_records(_written(tmp_path, name, content))
    assert file.place == place
    assert [number for number, _ in _records(file)] == numbers


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, name: str, encoding: str) -> None:
    text = "text\né\n" if name == "a.csv" else '{"text": "é"}'
    path = _written(tmp_path, name, text.encode(encoding))
    file = open_records(path, encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert _values(file) == [{"text": "é"}]


def test_another_encoding_is_read_where_it_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.jsonl", '{"text": "für"}'.encode("cp1252"))
    assert _values(open_records(path, encoding="cp1252")) == [{"text": "für"}]


def test_undecodable_bytes_are_named_with_their_place_and_the_cure(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.jsonl", b'{"text": "x"}\n{"text": "f\xfcr"}\n')
    message = _refusal(path)
    assert "a.jsonl is not utf-8: byte 25 (line 2)" in message
    assert "--encoding" in message
    assert "utf-16" in _refusal(_written(tmp_path, "b.jsonl", '{"text": "ü"}'.encode("utf-16")))


@pytest.mark.parametrize("encoding", ["no-such", "base64"])
def test_what_is_no_text_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    assert encoding in _refusal(_written(tmp_path, "a.jsonl", '{"text": "x"}'), encoding)


def test_a_bad_line_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    file = open_records(_written(tmp_path, "a.jsonl", '{"text": "x"}\n{"text": \n[1]\n7\n{"text": "y"}\n'))
    assert _values(file) == [{"text": "x"}, {"text": "y"}]
    assert [(bad.line, bad.reason) for bad in _bad(file)] == [
        (2, "not valid JSON at column 10: Expecting value"),
        (3, "a record must be a JSON object, not a list"),
        (4, "a record must be a JSON object, not a number"),
    ]
    assert [bad.where for bad in _bad(file)] == ["a.jsonl:2", "a.jsonl:3", "a.jsonl:4"]


def test_a_bad_item_of_a_list_is_named_by_its_position(tmp_path: Path) -> None:
    file = open_records(_written(tmp_path, "a.json", '[\n\n{"text": "x"},\n\n7]'))
    assert [bad.where for bad in _bad(file)] == ["a.json: record 2"]


def test_line_separators_inside_a_string_do_not_end_a_record(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.jsonl", '{"text": "a\u2028b\x85c"}\r\n{"text": "d"}')
    assert _values(open_records(path)) == [{"text": "a\u2028b\x85c"}, {"text": "d"}]


def test_json_nested_too_deeply_is_a_bad_record(tmp_path: Path) -> None:
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    file = open_records(_written(tmp_path, "a.jsonl", f'{{"text": "x"}}\n{deep}\n'))
    assert [bad.line for bad in _bad(file)] == [2]
    assert "nested too deeply" in _bad(file)[0].reason


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.9])
def test_a_json_file_cut_in_half_is_one_line_that_says_where(tmp_path: Path, cut: float) -> None:
    whole = json.dumps(
        [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(20)], indent=1
    )
    message = _refusal(_written(tmp_path, "a.json", whole[: int(len(whole) * cut)]))
    assert message.startswith("a.json is not valid JSON at line ")
    assert "cut" in message


def test_a_single_object_is_marked_as_such(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.json", json.dumps({"id1": {"original": "x"}}, indent=1))
    file = open_records(path)
    assert survey(file).single
    assert _values(file) == [{"id1": {"original": "x"}}]
    assert not survey(open_records(_written(tmp_path, "b.json", '{"text": "a"}\n{"text": "b"}'))).single


def test_a_csv_row_of_another_width_is_a_bad_record(tmp_path: Path) -> None:
    file = open_records(_written(tmp_path, "a.csv", "prompt,completion\na,b\nc\nd,e,f\ng,h\n"))
    assert _values(file) == [{"prompt": "a", "completion": "b"}, {"prompt": "g", "completion": "h"}]
    assert [(bad.line, bad.reason) for bad in _bad(file)] == [
        (3, "1 field where the header has 2"),
        (4, "3 fields where the header has 2"),
    ]


def test_a_csv_quote_that_never_closes_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "opened in line 3" in _refusal(_written(tmp_path, "a.csv", 'text\nfine\n"open\nmore\n'))


def test_a_csv_header_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    assert "'text' twice" in _refusal(_written(tmp_path, "a.csv", "text,text\na,b\n"))


def test_a_long_csv_field_is_read(tmp_path: Path) -> None:
    file = open_records(_written(tmp_path, "a.csv", f"text\n{'x' * 300_000}\n"))
    assert len(_records(file)[0][1]["text"]) == 300_000


def test_nulls_of_a_parquet_file_are_absent_fields(tmp_path: Path) -> None:
    rows = [{"text": "a", "system": None}, {"text": None, "system": "s"}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert _values(open_records(tmp_path / "a.parquet")) == [{"text": "a"}, {"system": "s"}]


def test_what_is_no_parquet_file_is_refused(tmp_path: Path) -> None:
    assert "a.parquet is no readable Parquet file" in _refusal(_written(tmp_path, "a.parquet", b"PAR1 no"))


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    _written(tmp_path, "train.jsonl", "{}")
    assert "did you mean 'train.jsonl'?" in _refusal(tmp_path / "trian.jsonl")
    assert "there is no data file" in _refusal(tmp_path / "no" / "folder.jsonl")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in _refusal(tmp_path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet"])
@pytest.mark.parametrize("content", ["", " \n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    message = _refusal(_written(tmp_path, name, content))
    assert "is empty" in message or "no readable Parquet" in message


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text\n"), ("a.json", "[]")])
def test_a_file_without_a_record_is_refused(tmp_path: Path, name: str, content: str) -> None:
    assert f"{name} holds no records" in _refusal(_written(tmp_path, name, content))


def test_an_unknown_extension_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = _refusal(_written(tmp_path, "notes.txt", "hello"))
    assert "'.txt' is not known" in message
    assert ".jsonl" in message


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    one = open_records(_written(tmp_path, "a.jsonl", '{"text": "x"}'))
    same = open_records(_written(tmp_path, "b.jsonl", '{"text": "x"}'))
    other = open_records(_written(tmp_path, "c.jsonl", '{"text": "y"}'))
    assert one.digest == same.digest != other.digest


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_reading_holds_no_more_for_more_records(tmp_path: Path, kind: str) -> None:
    held = {}
    for count in (4_000, 40_000):
        texts = [f"t {number}" for number in range(count)]
        path = tmp_path / f"{count}.{kind}"
        if kind == "csv":
            path.write_text("\n".join(["text", *texts]))
        elif kind == "json":
            path.write_text(json.dumps([{"text": text} for text in texts]))
        else:
            path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
        del texts
        tracemalloc.start()
        assert sum(1 for _ in open_records(path).read()) == count
        held[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A record more would hold several hundred bytes if it were kept.
    assert held[40_000] - held[4_000] < 36_000 * 60
