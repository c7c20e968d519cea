"""``tune list`` where something cannot be read: the others are listed, and what cannot be is named."""

import dataclasses
import json
import re
import sqlite3
from pathlib import Path

import pytest
from loratune.app.looking import look_first
from loratune.app.request import choose_preset, make_config, make_request
from loratune.command.listing import NAMED, counted_states, study_row, study_rows
from loratune.objectives.testing.fake import FakeFleet, FakePlan
from loratune.search.loop import run
from loratune.search.study_record import create
from loratune.storage.store import Store

STUDIES = ("first", "second", "third")


@pytest.fixture
def database(tmp_path):
    """A database with three studies of made-up trials."""
    file = tmp_path / "tune.db"
    request = make_request(None, {})
    config = make_config(request, choose_preset(request))
    fleet = FakeFleet(FakePlan())
    with Store.open(str(file), mode="create") as store:
        for name in STUDIES:
            facts = fleet(0).prepare(config.objective)
            study = create(store, name=name, config=config, facts=facts, trials=5)
            run(store, study, factory=fleet)
    return file


def spoil(database, change):
    with sqlite3.connect(database) as connection:
        connection.execute(change)
    connection.close()


@pytest.fixture
def listed(refused, database):
    """Run ``tune list`` where it ends with an error."""

    def call(*words, command="list"):
        return refused(command, "--storage", str(database), *words)

    return call


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "UPDATE tune_trials SET value = value + 1 WHERE study_id = 2 AND number = 3",
            "trial 3 of study 'second'",
        ),
        (
            "UPDATE tune_trials SET params = '{' WHERE study_id = 2 AND number = 3",
            "trial 3 of study 'second'",
        ),
        ("UPDATE tune_studies SET trials = 77 WHERE id = 2", "study 'second'"),
        ("UPDATE tune_leases SET host = 'x', pid = 'y' WHERE study_id = 2", "who owns a study"),
    ],
)
def test_a_study_that_cannot_be_read_hides_no_other(listed, database, change, named):
    whole = study_names(database)
    assert whole == list(STUDIES)
    spoil(database, change)
    ended = listed("--json")
    assert ended.code == 1
    assert [row["study"] for row in json.loads(ended.out)] == ["first", "third"]
    assert "cannot be listed" in ended.complaint
    assert f"damaged, {named} cannot be read" in ended.complaint
    assert "second" in ended.complaint or "tune-artifacts/2" in ended.complaint
    table = listed()
    assert table.code == 1
    lines = table.out.splitlines()
    assert [line.split()[0] for line in lines] == ["study", "first", "third", "in"]
    assert table.complaint == ended.complaint


def study_names(database):
    with Store.open(str(database), mode="read") as store:
        rows, unread = study_rows(store)
    assert unread is None
    return [row["study"] for row in rows]


def test_where_none_can_be_read_no_empty_table_is_shown(listed, database):
    spoil(database, "UPDATE tune_trials SET value = 1.0 WHERE number = 0")
    ended = listed()
    assert (ended.code, ended.out) == (1, "")
    assert "study 'first', study 'second', study 'third' cannot be listed" in ended.complaint


def test_of_many_that_cannot_be_read_a_few_are_named(database, monkeypatch):
    spoil(database, "UPDATE tune_trials SET value = 1.0 WHERE number = 0")
    monkeypatch.setattr("loratune.command.listing.NAMED", 1)
    assert NAMED == 5
    with Store.open(str(database), mode="read") as store:
        rows, unread = study_rows(store)
    assert rows == []
    assert str(unread).startswith("study 'first' and 2 more cannot be listed: ")


def test_what_shows_one_study_names_it_as_well(listed, database):
    spoil(database, "UPDATE tune_trials SET value = 1.0 WHERE study_id = 2 AND number = 4")
    ended = listed("second", command="show")
    assert ended.code == 1
    assert "damaged, trial 4 of study 'second' cannot be read" in ended.complaint


def test_a_study_that_cannot_be_read_keeps_nobody_from_making_another(database):
    spoil(database, "UPDATE tune_studies SET trials = 77 WHERE id = 2")
    request = make_request(None, {"storage": str(database), "study": "new"})
    look_first(request)
    look_first(make_request(None, {"storage": str(database)}))
    config = make_config(request, choose_preset(request))
    facts = FakeFleet(FakePlan())(0).prepare(config.objective)
    with Store.open(str(database), mode="write") as store:
        create(store, name="new", config=config, facts=facts, trials=2)
        again = create(store, name="new", config=config, facts=facts, trials=2)
        assert store.trials(again.id) == ()


def test_outcomes_are_in_one_order_whatever_the_trials_numbers(database):
    expected = ["complete", "pruned", "running"]
    for first in ("pruned", "running"):
        with Store.open(str(database), mode="read") as store:
            found = store.trials(store.head(1).id)
        states = [first, *(state for state in expected if state != first), "complete", first]
        trials = [
            dataclasses.replace(trial, state=state, value=1.0 if state == "complete" else None)
            for trial, state in zip(found, states, strict=True)
        ]
        assert list(counted_states(trials, waits=())) == expected


def test_every_field_of_a_row_is_on_the_page_and_no_other(database):
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    section = page.partition("## The list\n")[2].partition("\n## ")[0]
    described = [field for line in section.splitlines() if line.startswith("- ") for field in named(line)]
    with Store.open(str(database), mode="read") as store:
        row = study_row(store, store.head(store.study_ids()[0]))
    assert sorted(described) == sorted(row)


def named(line):
    """Return the fields that a line of a list is about, those before its colon."""
    return re.findall(r"`(\w+)`", line.partition(":")[0])
