"""What a search knows of its study."""

from __future__ import annotations

import dataclasses

import optuna
import pytest
from loratune.objectives.testing.fake import FakePlan
from loratune.search.study_state import StudyState
from loratune.storage.store import Store

PLAN = FakePlan(slots=4)


@pytest.fixture
def ledger(bench):
    """The ledger of a study that was left with ended and running trials."""
    bench.create(10)
    bench.run(PLAN, crash=(20, True))
    with Store.open(str(bench.path), mode="write") as store:
        study = store.study("a")
        store.acquire(study.id)
        yield StudyState(store, study)


def test_it_reads_back_all_that_it_wrote(ledger) -> None:
    config = ledger.config
    params = dataclasses.replace(config.first[0], learning_rate=2e-3)
    number = ledger.add(params, "tpe")
    ledger.add_duplicate(0, config.first[0])
    ledger.begin_attempt(number)
    again = StudyState(ledger.store, ledger.study)
    assert again.history() == ledger.history()
    assert again.tried == ledger.tried
    assert again.rungs({}) == ledger.rungs({})
    assert again.running() == ledger.running()
    same = {"started_at": None, "finished_at": None}
    assert [dataclasses.replace(t, **same) for t in again.trials.values()] == [
        dataclasses.replace(t, **same) for t in ledger.trials.values()
    ]


def test_a_duplicate_gives_the_sampler_its_twins_result(ledger) -> None:
    before = ledger.history()
    next_number = len(ledger.trials)
    ledger.add_duplicate(0, ledger.trials[0].params)
    assert ledger.history() == (*before, before[0])
    assert ledger.duplicates(next_number) == 1
    # What is asked later stands behind it.
    ledger.add(dataclasses.replace(ledger.trials[0].params, learning_rate=2e-3), "tpe")
    assert ledger.history()[:-1] == (*before, before[0])
    assert ledger.duplicates(len(ledger.trials)) == 0


def test_history_holds_every_parameter_of_every_trial(ledger) -> None:
    varied = set(ledger.config.space.distributions())
    assert all(set(past.suggestion) == varied for past in ledger.history())
    assert {past.state for past in ledger.history()} >= {"running", "complete"}


def test_rungs_hold_all_that_ever_reached_them(ledger, bench) -> None:
    rungs = ledger.rungs({})
    assert set(rungs) == {1, 2, 4, 8}
    for round_number, values in rungs.items():
        assert set(values) == {trial.number for trial in bench.trials() if trial.rounds >= round_number}


def test_the_best_is_the_lowest_value(ledger, bench) -> None:
    values = {trial.value: trial.number for trial in bench.trials() if trial.value is not None}
    assert ledger.best().number == values[min(values)]


def test_a_fault_in_working_parameters_out_leaves_no_trial_without_them_in_optunas_copy(
    ledger, bench, monkeypatch
) -> None:
    def values(self, params):
        raise KeyError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(type(ledger.config.space), "values", values)
        with pytest.raises(KeyError, match="a fault"):
            ledger.project()
    ledger.project()
    ended = [trial for trial in ledger.trials.values() if trial.state != "running"]
    storage = optuna.storages.RDBStorage(f"sqlite:///{bench.path}")
    copied = optuna.load_study(study_name="a", storage=storage).trials
    storage.engine.dispose()
    assert len(copied) == len(ended) > 0
    assert all(trial.params for trial in copied)
