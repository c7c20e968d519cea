"""``tune show`` of studies that follow from others: what they are for, and what to look at instead."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from climbs import ONE, in_a_folder, search
from loratune import app
from loratune.app.climbing import step_name
from loratune.cli import tune
from loratune.reports.load import load_view
from loratune.reports.page import render
from loratune.storage.store import Store


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    in_a_folder(tmp_path, monkeypatch)


def shown(name):
    return CliRunner().invoke(tune, ["show", name], catch_exceptions=False).stdout


def page(name):
    with Store.open("tune.db", mode="read") as store:
        return render(load_view(store, name))


def test_what_went_on_in_longer_steps_points_to_the_last_and_not_to_a_confirmation():
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        ladder = store.study("demo").config.ladder
    names = ["demo", *(step_name("demo", ladder.times(level)) for level in range(1, ladder.steps + 1))]
    assert done.study == names[-1]
    for name in names[:-1]:
        said = shown(name)
        assert f"the verdict of tune show {names[-1]}" in said
        assert "tune confirm" not in said
        assert "tune confirm" not in page(name)
    last = shown(names[-1])
    assert "tune show" not in last
    assert "the best" not in last.partition("model  ")[0]
    assert "(best)" not in last


def test_a_study_that_follows_says_what_it_trains_and_no_sampler_or_space():
    app.start(app.SearchOptions(trials=4, study="other"), ONE)
    app.confirm("other", ONE, top=1, seeds=2)
    app.train("other", ONE)
    said = {name: shown(name) for name in ("other", "other.confirm", "other.train")}
    for words in ("sampler  tpe", "pruner   halving", "space    preset"):
        assert words in said["other"]
        assert words.split()[0] + "  " not in said["other.confirm"] + said["other.train"]
    assert "follows" not in said["other"]
    with Store.open("tune.db", mode="read") as store:
        trial = store.study("other.train").config.stage.entries[0].trial
    assert f"trains trial {trial} of study other at full length" in said["other.train"]
    assert "of study other under several seeds" in said["other.confirm"]
    assert "the best" not in said["other.train"]
    for words in (">sampler<", ">pruner<", "the sampler goes by losses"):
        assert words in page("other")
        assert words not in page("other.train")
