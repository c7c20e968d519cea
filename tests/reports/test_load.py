import dataclasses

import pytest
from loratune.errors import StudyNotFound
from loratune.reports.load import load_view
from loratune.reports.page import render
from loratune.reports.verdict import verdict
from loratune.storage.store import Store
from loratune.study.records import Ending, RoundUpdate


def record(store, made):
    """Write a made-up study as a search would."""
    study = store.create_study(name="demo", trials=20, config=made.study.config, facts=made.study.facts)
    store.acquire(study.id)
    for trial in made.trials:
        store.add_trial(
            study.id, number=trial.number, params=trial.params, seed=trial.seed, source=trial.source
        )
    for point in made.curve:
        evaluation = made.evaluations.get(point.trial) if point.round == 8 else None
        update = {"trial": point.trial, "round": point.round, "point": point, "checkpoint": None}
        store.record_round(study.id, [RoundUpdate(**update, evaluation=evaluation)])
    store.record_round(
        study.id,
        [],
        [
            Ending(trial=t.number, state=t.state, reason=t.reason, value=t.value, adapter=None)
            for t in made.trials
            if t.state != "running"
        ],
    )


def test_a_stored_study_reads_as_it_was_recorded(make_view, tmp_path):
    made = make_view(12, states={11: "running"}, wanted=20)
    with Store.open(str(tmp_path / "tune.db"), mode="create") as store:
        record(store, made)
    with Store.open(str(tmp_path / "tune.db"), mode="read") as store:
        read = load_view(store)
        with pytest.raises(StudyNotFound):
            load_view(store, "other")
    assert [trial.params for trial in read.trials] == [trial.params for trial in made.trials]
    assert verdict(read) == dataclasses.replace(verdict(made), study="demo")
    assert "is the best of 11 so far" in render(read)
