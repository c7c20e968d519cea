"""``tune list`` where studies belong together: steps of one search that climbs, and what goes on with it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from climbs import ONE, Heard, in_a_folder, search
from loratune import app
from loratune.app import climbing
from loratune.cli import tune
from loratune.search.interrupt import StopSignal


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    in_a_folder(tmp_path, monkeypatch)


def listed():
    """Return the rows of ``tune list --json`` by study, and what it says in words."""
    rows = json.loads(CliRunner().invoke(tune, ["list", "--json"]).stdout)
    return {row["study"]: row for row in rows}, CliRunner().invoke(tune, ["list"]).stdout


def test_the_steps_of_a_climb_are_of_one_search_and_one_that_is_over_goes_on_with_nothing():
    app.start(search(), ONE)
    app.start(app.SearchOptions(trials=2, study="other", eval_examples=64), ONE)
    rows, said = listed()
    steps = [name for name in rows if name.startswith("demo.x")]
    assert len(steps) > 2
    below = ["demo", *steps]
    for name, under in zip(steps, below, strict=False):
        assert (rows[name]["kind"], rows[name]["follows"]) == ("longer", under)
    assert {rows[name]["search"] for name in below} == {"demo"}
    assert (rows["demo"]["kind"], rows["demo"]["follows"]) == (None, None)
    assert (rows["other"]["kind"], rows["other"]["search"]) == (None, None)
    assert all(row["goes_on_with"] is None for row in rows.values())
    assert said.count("a step of demo") == len(steps)
    assert "go on with" not in said


@pytest.mark.parametrize("steps", [0, 1])
def test_a_climb_that_was_interrupted_between_steps_says_what_goes_on_with_it(monkeypatch, steps):
    true, taken = climbing.follow, []

    def killed(*args, **values):
        if len(taken) == steps:
            raise KeyboardInterrupt
        taken.append(1)
        return true(*args, **values)

    monkeypatch.setattr(climbing, "follow", killed)
    with pytest.raises(KeyboardInterrupt):
        app.start(search(), ONE)
    rows, said = listed()
    assert len(rows) == 1 + steps
    assert all(row["ended"] == row["trials"] for row in rows.values())
    assert {row["goes_on_with"] for row in rows.values()} == {"tune resume demo"}
    assert said.count("go on with: tune resume demo\n") == 1
    monkeypatch.setattr(climbing, "follow", true)
    app.resume("demo", ONE)
    assert {row["goes_on_with"] for row in listed()[0].values()} == {None}


class Within(Heard):
    """Asks for an end once a trial of the n-th study has gone on for a round."""

    def __init__(self, stop, studies):
        super().__init__(stop)
        self.last = studies

    def on_event(self, event):
        super().on_event(event)
        if self.points and len(self.studies) == self.last:
            self.stop.request()


@pytest.mark.parametrize("studies", [1, 2])
def test_so_does_one_that_was_interrupted_in_its_search_or_within_a_step(studies):
    stop = StopSignal()
    done = app.start(search(), ONE, observers=[Within(stop, studies)], stop=stop)
    assert done.ended.why == "interrupted"
    rows, _ = listed()
    assert len(rows) == studies
    assert {row["goes_on_with"] for row in rows.values()} == {"tune resume demo"}


def test_a_study_that_repeats_another_names_it():
    app.start(app.SearchOptions(trials=4, study="other"), ONE)
    app.confirm("other", ONE, top=1, seeds=2)
    rows, said = listed()
    assert (rows["other.confirm"]["kind"], rows["other.confirm"]["follows"]) == ("confirm", "other")
    assert "confirms other" in said
