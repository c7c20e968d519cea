"""Paths in a config file are those of the working directory; one that lies beside the file is pointed out."""

from __future__ import annotations

from pathlib import Path

import pytest
from loratune.app.request import choose_preset, make_config, make_request
from loratune.errors import UsageError
from loratune.spaces.presets import preset


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a folder of its own for configurations, and what they name."""
    beside = tmp_path / "conf"
    beside.mkdir()
    (beside / "mine.jsonl").touch()
    (beside / "space.yaml").touch()
    (beside / "model").mkdir()
    (beside / "org").mkdir()
    (beside / "org" / "name").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(text, **flags):
    Path("conf/search.yaml").write_text(text)
    return make_request(Path("conf/search.yaml"), flags)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", "mine.jsonl"),
        ("validation", "mine.jsonl"),
        ("test", "./mine.jsonl"),
        ("space", "space.yaml"),
        ("model", "model"),
        ("model", "./model"),
    ],
)
def test_a_path_that_is_only_beside_the_file_says_where_it_was_looked_for_and_where_it_is(
    folder, name, value
):
    with pytest.raises(UsageError) as caught:
        asked(f"{name}: {value}\n")
    assert str(caught.value) == (
        f"conf/search.yaml: {name}: {value!r} is looked for in {folder}, where the command runs, and is not "
        f"there; the file's folder has one: write {Path('conf') / value}, or run the command there"
    )


def test_a_path_of_the_working_directory_is_taken_also_where_the_file_has_one_beside_it(folder):
    (folder / "mine.jsonl").touch()
    config = asked("model: org/name\ndata: mine.jsonl\n")
    assert make_config(config, preset("default")).objective.data.train == str(folder / "mine.jsonl")


@pytest.mark.parametrize("text", ["space: tiny\n", "model: org/name\n", "data: none.jsonl\n", "trials: 3\n"])
def test_what_is_no_path_or_is_nowhere_is_left_to_others(folder, text):
    (folder / "conf" / "tiny").touch()
    name, _, value = text.strip().partition(": ")
    assert str(getattr(asked(text).search, name)) == value


def test_a_flag_over_the_file_is_what_counts(folder):
    assert asked("data: mine.jsonl\n", data="other.jsonl").search.data == "other.jsonl"


def test_a_tilde_is_a_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    request = asked("model: org/name\ndata: ~/conf/mine.jsonl\n")
    made = make_config(request, choose_preset(request) or preset("default"))
    assert made.objective.data.train == str(folder / "conf" / "mine.jsonl")
