"""Confirming from Python: what makes no sense is refused before a database is looked for."""

import pytest
from loratune import app
from loratune.errors import DataError, ReportError, StudyBusy, UsageError
from loratune.storage.store import Store
from made_up_studies import make_config, make_facts


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"top": 0}, "top: 0 is less than 1"),
        ({"top": True}, "top: True is less than 1"),
        ({"seeds": 0}, "seeds: 0 is not from 1 to 8"),
        ({"seeds": 9}, "seeds: 9 is not from 1 to 8"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, given, said):
    with pytest.raises(UsageError, match=said):
        app.confirm("demo", storage=str(tmp_path / "none.db"), **given)
    assert list(tmp_path.iterdir()) == []


def made(tmp_path, **data):
    path = str(tmp_path / "tune.db")
    with Store.open(path, mode="create") as store:
        store.create_study(name="demo", trials=4, config=make_config(), facts=make_facts(data=data))
    return path


def test_a_study_that_runs_is_not_confirmed_meanwhile(tmp_path):
    path = made(tmp_path)
    with Store.open(path, mode="write") as owner:
        owner.acquire(owner.study("demo").id)
        with pytest.raises(StudyBusy):
            app.confirm("demo", storage=path)


def test_what_is_planned_is_not_told_where_nothing_can_be_confirmed(tmp_path):
    told = []
    with pytest.raises(ReportError, match="no complete trial to confirm"):
        app.confirm("demo", storage=made(tmp_path), planned=told.append)
    assert told == []


def test_without_test_examples_nothing_begins(tmp_path):
    with pytest.raises(DataError, match="have no test examples"):
        app.confirm("demo", storage=made(tmp_path, test=0))
