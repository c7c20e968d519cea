"""Confirming from Python: what makes no sense is refused before a database is looked for."""

import dataclasses

import pytest
from loratune import app
from loratune.app.durations import speed
from loratune.app.options import RunOptions
from loratune.errors import DataError, ReportError, StudyBusy, UsageError
from loratune.storage.store import Store
from loratune.study.facts import Answers
from loratune.study.records import Ending
from made_up_studies import make_config, make_facts, make_study


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


def searched_study(tmp_path, metric, labels):
    made = make_study(4, states=dict.fromkeys(range(4), "complete"))
    config = made.study.config
    config = dataclasses.replace(config, objective=dataclasses.replace(config.objective, metric=metric))
    facts = dataclasses.replace(made.study.facts, answers=Answers(labels=labels))
    path = str(tmp_path / f"{metric}{len(labels)}.db")
    with Store.open(path, mode="create") as store:
        study = store.create_study(name="demo", trials=4, config=config, facts=facts)
        store.acquire(study.id)
        for trial in made.trials:
            store.add_trial(
                study.id, number=trial.number, params=trial.params, seed=trial.seed, source=trial.source
            )
        ends = [
            Ending(trial=one.number, state=one.state, reason=one.reason, value=one.value, adapter=None)
            for one in made.trials
        ]
        store.record_round(study.id, [], ends)
        store.release(study.id)
    return path


class PlannedError(Exception):
    """What is planned is known, and nothing is to be begun."""


def minutes_planned(path):
    def stop(plan):
        raise PlannedError(plan)

    with pytest.raises(PlannedError) as told:
        app.confirm("demo", RunOptions(workers=1), storage=path, seeds=2, planned=stop)
    return told.value.args[0].minutes


def test_the_minutes_planned_know_each_label_that_is_tried_of_validation_and_of_the_test_set(tmp_path):
    plain = minutes_planned(searched_study(tmp_path, "token_accuracy", ()))
    labelled = minutes_planned(searched_study(tmp_path, "accuracy", ("no", "yes", "maybe")))
    with Store.open(str(tmp_path / "accuracy3.db"), mode="read") as store:
        facts = store.study("demo").facts
    assert (facts.data.validation, facts.data.test, facts.rows_per_second) == (600, 600, 200.0)
    trainings = 4 * 2  # all four are complete, so all are among the best five
    validation = trainings * 3 * 600 / 3 / speed(facts, trials=trainings, workers=1)
    test = 2 * 2 * 3 * 600 / 3 / speed(facts, trials=1, workers=1)
    assert labelled - plain == pytest.approx((validation + test) / 60)
