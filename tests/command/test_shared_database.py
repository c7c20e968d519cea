"""A file of Optuna's with somebody else's studies: every command says so or passes them by, alters none."""

from __future__ import annotations

import sqlite3

import optuna
import pytest
from loratune.storage.store import Store
from made_up_studies import make_config, make_facts

READ = [
    ["list"],
    ["show"],
    ["show", "theirs"],
    ["report", "theirs"],
    ["plot", "history", "theirs"],
    ["export", "theirs"],
    ["resume", "theirs"],
    ["confirm", "theirs"],
    ["train", "theirs"],
    ["db", "check"],
    ["db", "backup", "-o", "copy.db"],
]


@pytest.fixture
def theirs(tmp_path):
    """A file with a study of one objective, one of two, and a trial that is still running."""
    path = tmp_path / "theirs.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    study = optuna.create_study(storage=storage, study_name="theirs")
    study.add_trial(optuna.create_trial(value=1.0))
    study.ask()
    both = optuna.create_study(storage=storage, study_name="both", directions=["minimize", "maximize"])
    both.add_trial(optuna.create_trial(values=[1.0, 2.0]))
    storage.remove_session()
    storage.engine.dispose()
    return path


def rows(path):
    """Return the statements that make everything in a file anew."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        found = set(connection.iterdump())
    connection.close()
    return found


@pytest.mark.parametrize("words", READ, ids=" ".join)
def test_a_file_of_others_studies_alone_is_told_in_a_line_and_keeps_every_byte(refused, theirs, words):
    before = theirs.read_bytes()
    ended = refused(*words, "--storage=theirs.db")
    assert "theirs.db: holds no study of loratune; tune search makes one" in ended.complaint
    assert ended.code == 1
    assert {file.name: file.read_bytes() for file in theirs.parent.iterdir()} == {"theirs.db": before}


def test_a_search_under_the_name_of_anothers_study_is_refused_and_changes_nothing(tune, theirs, small):
    before = theirs.read_bytes()
    ended = tune("search", "--trials=2", "--storage=theirs.db", "--study=theirs", *small)
    assert "which is not of loratune; choose another name with --study" in ended.err.splitlines()[-1]
    assert ended.code == 1
    assert theirs.read_bytes() == before


def test_beside_a_study_of_ours_others_are_neither_listed_nor_altered(tune, refused, theirs):
    before = rows(theirs)
    with Store.open(str(theirs), mode="create") as store:
        study = store.create_study(name="mine", trials=1, config=make_config(), facts=make_facts())
        store.project(study.id, {}, {})
    assert [one["study"] for one in tune("list", "--json", "--storage=theirs.db").json] == ["mine"]
    for words in (["show"], ["report"], ["plot", "history"], ["export"], ["resume"], ["confirm"], ["train"]):
        assert "study 'theirs': not in " in refused(*words, "theirs", "--storage=theirs.db").complaint
    assert "is whole" in tune("db", "check", "--storage=theirs.db").out
    assert before - rows(theirs) == set()
