"""A study of several files leaves with all of them, or says why another trainer cannot read them."""

from __future__ import annotations

import json

import pytest
import yaml
from loratune.app.exporting import handover
from loratune.errors import ReportError
from loratune.integrations import llamafactory, plain, trl
from loratune.integrations.llamafactory_config import read_run
from loratune.study.config import DataFile
from loratune.study.facts import ColumnUse

PAIR = {"prompt": "p", "completion": "c"}


@pytest.fixture
def handed(make_view, tmp_path):
    """The best trial of a study on two files, ``(format, record, columns)`` each; both of one name."""

    def make(first, second, **config):
        paths, uses = [], []
        for folder, (_, record, _) in zip(("a", "b"), (first, second), strict=True):
            path = tmp_path / folder / "train.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(record) + "\n")
            paths.append(str(path))
            used = {"prompt": "prompt", "completion": "answer", "text": "text", "Answer": "answer"}
            uses += [
                ColumnUse(file=f"{folder}/train.jsonl", name=name, used_as=used.get(name, ""))
                for name in record
            ]
        more = DataFile(path=paths[1], columns=second[2])
        formats = (first[0], second[0])
        return handover(
            make_view(
                1,
                config={"train": paths[0], "columns": first[2], "more": (more,), **config},
                data={
                    "format": " and ".join(dict.fromkeys(formats)),
                    "formats": formats,
                    "template": "default",
                    "columns": tuple(uses),
                },
            )
        )

    return make


def test_llamafactory_is_told_of_all_files_each_with_its_own_columns(handed, tmp_path):
    turns = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    made = llamafactory.llamafactory(
        handed(("prompt_completion", PAIR, None), ("messages", turns, None)), tmp_path
    )
    names = made.arguments["dataset"].split(",")
    assert list(made.datasets) == names
    assert made.arguments["val_size"] == 0.15
    one, other = made.datasets.values()
    assert one == {
        "file_name": str(tmp_path / "a" / "train.jsonl"),
        "columns": {"prompt": "prompt", "response": "completion"},
    }
    assert (other["formatting"], other["columns"]) == ("sharegpt", {"messages": "messages"})


def test_columns_are_those_that_each_of_two_files_of_one_name_was_read_by(handed, tmp_path):
    record = {"prompt": "p", "Answer": "c"}
    made = llamafactory.llamafactory(
        handed(("prompt_completion", PAIR, None), ("prompt_completion", record, None)), tmp_path
    )
    assert [one["columns"]["response"] for one in made.datasets.values()] == ["completion", "Answer"]


def test_what_was_exported_is_read_back_as_the_same_files(handed, tmp_path):
    columns = ("prompt=q", "completion=a")
    given = handed(
        ("prompt_completion", PAIR, None),
        ("prompt_completion", {"q": "1", "a": "2"}, columns),
        validation=str(tmp_path / "b" / "train.jsonl"),
    )
    path = tmp_path / "out" / "train.yaml"
    path.parent.mkdir()
    llamafactory.export(given, path)
    written = yaml.safe_load(path.read_text())
    assert written.pop("eval_dataset").endswith("_validation")
    assert read_run(written, path).options["data"] == [
        {
            "path": str(tmp_path / "a" / "train.jsonl"),
            "columns": {"instruction": "prompt", "output": "completion"},
        },
        {"path": str(tmp_path / "b" / "train.jsonl"), "columns": {"instruction": "q", "output": "a"}},
    ]


def test_the_yaml_names_all_files_and_the_columns_that_were_given(handed, tmp_path):
    columns = ("prompt=q", "completion=a")
    made = handed(("prompt_completion", PAIR, None), ("prompt_completion", {"q": "1", "a": "2"}, columns))
    data = yaml.safe_load(plain.export_yaml(made))["data"]
    assert data["train"] == [
        {"path": str(tmp_path / "a" / "train.jsonl"), "format": "prompt_completion"},
        {
            "path": str(tmp_path / "b" / "train.jsonl"),
            "format": "prompt_completion",
            "columns": list(columns),
        },
    ]
    assert "format" not in data
    assert json.loads(plain.export_json(made))["data"] == data


def test_trl_is_told_of_all_files_and_the_columns_that_they_share(handed, tmp_path):
    text = trl.trl(handed(("prompt_completion", PAIR, None), ("prompt_completion", {**PAIR, "id": 1}, None)))
    assert "&id" not in text
    made = yaml.safe_load(text)
    assert made["datasets"] == [
        {
            "path": "json",
            "data_files": str(tmp_path / folder / "train.jsonl"),
            "columns": ["prompt", "completion"],
        }
        for folder in ("a", "b")
    ]


def test_trl_is_told_of_the_tools_that_all_files_have(handed):
    with_tools = {**PAIR, "tools": "[]"}
    made = yaml.safe_load(trl.trl(handed(*[("prompt_completion", with_tools, None)] * 2)))
    assert [one["columns"] for one in made["datasets"]] == [["prompt", "completion", "tools"]] * 2
    with pytest.raises(ReportError, match=r"a/train\.jsonl: has no column 'tools', which another file has"):
        trl.trl(handed(("prompt_completion", PAIR, None), ("prompt_completion", with_tools, None)))


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (
            (
                "prompt_completion",
                {key: [{"role": "user", "content": value}] for key, value in PAIR.items()},
                None,
            ),
            "b/train.jsonl: its prompts are lists of turns and those of another file are texts",
        ),
        (
            ("alpaca", {"instruction": "q", "output": "a"}, None),
            "prompt_completion and alpaca, and TRL joins",
        ),
        (
            ("prompt_completion", {"q": "1", "a": "2"}, ("prompt=q", "completion=a")),
            "b/train.jsonl: the study",
        ),
    ],
)
def test_files_that_trl_cannot_join_are_refused_in_one_line(handed, second, said):
    with pytest.raises(ReportError) as caught:
        trl.trl(handed(("prompt_completion", PAIR, None), second))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_in_columns_of_two_names_are_refused_for_trl(handed):
    first, second = ("text", {"text": "a"}, None), ("text", {"body": "b"}, ("text=body",))
    with pytest.raises(ReportError, match="have the same names, here 'text' and 'body'"):
        trl.trl(handed(first, second))
