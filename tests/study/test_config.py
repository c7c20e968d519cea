"""The files of a study, and what they are called."""

from __future__ import annotations

import pytest
from loratune.study.config import DataConfig, DataFile


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/sets/a.jsonl"], ["a.jsonl"]),
        (["/sets/a.jsonl", "/sets/b.csv"], ["a.jsonl", "b.csv"]),
        (["/a/train.json", "/b/train.json", "/b/c.json"], ["a/train.json", "b/train.json", "c.json"]),
        (["/a/x/train.json", "/b/x/train.json"], ["a/x/train.json", "b/x/train.json"]),
        (["/train.json", "/b/train.json"], ["/train.json", "b/train.json"]),
    ],
)
def test_files_are_called_by_their_names_with_folders_where_these_are_alike(paths, names):
    first, *more = paths
    config = DataConfig(train=first, more=tuple(DataFile(path=path) for path in more))
    assert [config.names[path] for path in paths] == names


def test_one_file_to_train_on_goes_by_its_name_whatever_the_others_are_called():
    config = DataConfig(train="/a/data.json", validation="/b/data.json")
    assert set(config.names.values()) == {"data.json"}


def test_the_first_file_is_read_as_is_said_for_all():
    config = DataConfig(train="a", format="text", columns=("text=b",), more=(DataFile(path="c"),))
    assert config.train_files == (
        DataFile(path="a", format="text", columns=("text=b",)),
        DataFile(path="c"),
    )
