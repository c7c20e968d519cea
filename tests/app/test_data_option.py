"""What ``--data`` takes: a file or several, and how each is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from loratune.app.data_option import GivenFile
from loratune.app.options import SearchOptions
from loratune.app.request import make_config, make_request
from loratune.errors import DataError, UsageError
from loratune.spaces.presets import preset
from loratune.study.config import DataFile


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data_of(written=None, **flags):
    """Return the data of a study, by a config file and flags."""
    path = None
    if written is not None:
        path = Path("search.yaml")
        path.write_text(f"model: org/name\n{written}")
    else:
        flags = {"model": "org/name", **flags}
    return make_config(make_request(path, flags), preset("default")).objective.data


def test_the_option_may_be_given_again(folder):
    data = data_of(data=("a.jsonl", "b.csv", "sub/c.json"))
    assert data.train == str(folder / "a.jsonl")
    assert data.more == (DataFile(path=str(folder / "b.csv")), DataFile(path=str(folder / "sub" / "c.json")))


@pytest.mark.parametrize(
    "data", [["a.jsonl", "b.csv"], ("a.jsonl", Path("b.csv")), [{"path": "a.jsonl"}, "b.csv"]]
)
def test_a_program_gives_a_list(data):
    given = SearchOptions(data=data).data
    assert [one if isinstance(one, str) else one.path for one in given] == ["a.jsonl", "b.csv"]


def test_one_file_is_the_same_however_it_is_given():
    assert data_of("data: a.jsonl\n") == data_of("data: [a.jsonl]\n") == data_of(data=("a.jsonl",))


def test_columns_and_format_hold_for_all_files():
    data = data_of(data=("a.csv", "b.csv"), columns="prompt=q,completion=a")
    assert [one.columns for one in data.train_files] == [("prompt=q", "completion=a")] * 2
    assert [one.format for one in data_of(data=("a", "b"), format="text").train_files] == ["text"] * 2


OWN = "data:\n- a.csv\n- {path: b.csv, columns: {text: body}}\n- {path: c.csv, format: messages}\n"


def test_a_file_may_say_its_own():
    data = data_of(OWN + "columns: prompt=q,completion=a\n")
    assert [(one.format, one.columns) for one in data.train_files] == [
        ("auto", ("prompt=q", "completion=a")),
        ("auto", ("text=body",)),
        ("messages", None),
    ]


def test_a_flag_goes_over_what_a_file_says_of_itself():
    assert {one.columns for one in data_of(OWN, columns="text=t").train_files} == {("text=t",)}
    assert [(one.format, one.columns) for one in data_of(OWN, format="text").train_files] == [
        ("text", None)
    ] * 3
    assert data_of(OWN, data=("other.csv",)).more == ()


@pytest.mark.parametrize("written", ["data: [a.csv, ./a.csv]", "data: [a.csv, b.csv]\nvalidation: b.csv"])
def test_a_file_given_twice_is_refused(folder, written):
    with pytest.raises(UsageError, match=r"--(data|validation): .* is given twice; give each file once"):
        data_of(written + "\n")
    (folder / "a.csv").touch()
    (folder / "link.csv").symlink_to("a.csv")
    with pytest.raises(UsageError, match="is given twice"):
        data_of(data=("a.csv", "link.csv"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "data: 5 is neither a file nor a list of files"),
        ([], "data: [] is an empty list; name a file"),
        (["a", ""], "data: ['a', ''] is empty"),
        (["a", 5], "data: ['a', 5] names 5, which is no file; write a path, or path: with columns:"),
        ([{"columns": {}}], "data: [{'columns': {}}] names None, which is no file"),
        ([{"path": "a", "colums": 1}], "has 'colums' beside a file (did you mean 'columns'?)"),
        ([{"path": "a", "columns": 1}], "has 1 for columns, which is no mapping of roles to columns"),
        (
            [{"path": "a", "columns": {"prompt": 1}}],
            "has 'prompt': 1 for columns; each is the text of a name",
        ),
        ([{"path": "a", "columns": {"prompt": None}}], "has 'prompt': None for columns"),
        ([{"path": "a", "columns": {False: "q"}}], "has False: 'q' for columns"),
        ([{"path": "a", "columns": {"prompt": ["q", 2]}}], "has 'prompt': ['q', 2] for columns"),
        ([{"path": "a", "format": 1}], "has 1 for a format"),
        (["a" * 5000], "is longer than 4096 characters"),
    ],
)
def test_what_is_no_file_is_told_in_one_line(given, said):
    with pytest.raises(UsageError) as caught:
        SearchOptions(data=given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("empty", ["", " "])
def test_a_flag_without_a_file_is_told(empty):
    with pytest.raises(UsageError, match="--data is empty; name a file"):
        data_of(data=("a.jsonl", empty))


def test_columns_of_one_file_are_checked_as_those_of_all():
    with pytest.raises(DataError, match=r"^b: columns: 'promt' is no role .did you mean 'prompt'"):
        data_of("data: [a, {path: b, columns: {promt: q}}]\n")


def test_a_given_file_is_taken_as_it_is():
    assert SearchOptions(data=(GivenFile(path="a"),)).data == (GivenFile(path="a"),)


def test_a_path_beside_the_config_file_is_pointed_out_of_each(folder):
    (folder / "conf").mkdir()
    (folder / "conf" / "b.csv").touch()
    (folder / "conf" / "s.yaml").write_text("model: org/name\ndata: [a.csv, b.csv]\n")
    with pytest.raises(UsageError, match=r"data: 'b\.csv' is looked for in .* write conf/b\.csv"):
        make_request(Path("conf/s.yaml"), {})
