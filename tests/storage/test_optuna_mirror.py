"""Optuna's own tools open the file and see the study as it is."""

import logging
import sqlite3
import warnings

import optuna
import pytest
import sqlalchemy
from loratune.errors import StorageError
from loratune.storage import optuna_rows
from loratune.storage.store import Store
from optuna.distributions import IntDistribution
from optuna_copies import DISTRIBUTIONS, VALUES, end, load, opened


def test_optuna_reads_parameters_losses_states_and_times(path, owned, round_update, params):
    store, study = owned
    for step in (1, 2):
        store.record_round(study.id, [round_update(n, step, eval_loss=3.0 - step / 10) for n in range(5)])
    store.record_round(
        study.id,
        [],
        [end(0, value=2.5), end(1, "pruned"), end(2, "diverged"), end(3, "infeasible"), end(4, "failed")],
    )
    store.project(study.id, DISTRIBUTIONS, VALUES)
    trials = load(path)
    ours = store.trials(study.id)
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED", "FAIL"]
    assert [trial.params for trial in trials] == [VALUES[n] for n in range(5)]
    assert [trial.distributions for trial in trials] == [DISTRIBUTIONS] * 5
    assert trials[0].intermediate_values == {1: 2.9, 2: 2.8}
    assert [trial.value for trial in trials] == [2.5, 2.8, 2.8, 2.8, None]  # none of them invented
    assert trials[2].user_attrs == {
        "loratune_number": 2,
        "state": "diverged",
        "reason": "because 2",
        "params": params.to_dict(),
    }
    for trial, our in zip(trials, ours, strict=True):
        assert trial.datetime_start.astimezone() == our.started_at
        assert trial.datetime_complete.astimezone() == our.finished_at


def test_only_trials_that_have_ended_are_there_in_the_order_in_which_they_ended(path, owned, round_update):
    store, study = owned
    store.record_round(study.id, [round_update(n, 1) for n in range(5)], [end(2, "pruned")])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    (first,) = load(path)
    assert (first.number, first.state.name, first.user_attrs["loratune_number"]) == (0, "PRUNED", 2)
    assert first.params == VALUES[2]
    for number in (4, 0):
        store.record_round(study.id, [], [end(number, value=2.0 + number)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    store.record_round(study.id, [], [end(n, value=2.0 + n) for n in (1, 3)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    trials = load(path)
    assert [trial.user_attrs["loratune_number"] for trial in trials] == [2, 4, 0, 1, 3]
    assert [trial.value for trial in trials] == [2.25, 6.0, 2.0, 3.0, 5.0]
    assert [trial.params for trial in trials] == [VALUES[n] for n in (2, 4, 0, 1, 3)]


def test_the_study_is_there_before_any_trial_is(path, owned):
    store, study = owned
    store.project(study.id, DISTRIBUTIONS, {})
    assert load(path) == []


def test_a_trial_that_was_never_measured_has_no_value(path, owned, round_update):
    store, study = owned
    store.record_round(study.id, [round_update(0, 1, eval_loss=None)], [end(0, "diverged"), end(1, "failed")])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    diverged, failed = load(path)
    assert (diverged.state.name, diverged.values, diverged.intermediate_values) == ("PRUNED", None, {})
    assert (failed.state.name, failed.values, failed.intermediate_values) == ("FAIL", None, {})


def test_a_copy_of_the_older_layout_is_written_anew_and_what_was_noted_in_it_stays(path, owned, round_update):
    store, study = owned
    store.record_round(
        study.id, [round_update(n, 1) for n in range(5)], [end(2, "pruned"), end(3, value=2.0)]
    )
    theirs = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        # As it was: rows of running trials to hold their numbers, and lists searched by index.
        old = optuna.create_study(storage=theirs, study_name="first")
        old.set_user_attr("mine", "kept")
        theirs.set_study_system_attr(old._study_id, "dashboard:note_str", "kept too")
        for number in range(3):
            state = optuna.trial.TrialState.PRUNED if number == 2 else optuna.trial.TrialState.RUNNING
            trial = optuna.create_trial(
                state=state,
                value=2.25 if number == 2 else None,
                params={"lora_rank": 1},
                distributions={"lora_rank": IntDistribution(0, 3)},
                user_attrs={"loratune_number": number},
            )
            old.add_trial(trial)
    finally:
        theirs.remove_session()
        theirs.engine.dispose()
    store.project(study.id, DISTRIBUTIONS, VALUES)
    trials = load(path)
    assert [trial.user_attrs["loratune_number"] for trial in trials] == [2, 3]
    assert [trial.params for trial in trials] == [VALUES[2], VALUES[3]]
    theirs = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        again = optuna.load_study(storage=theirs, study_name="first")
        assert again.user_attrs["mine"] == "kept"
        assert theirs.get_study_system_attrs(again._study_id) == {"dashboard:note_str": "kept too"}
    finally:
        theirs.remove_session()
        theirs.engine.dispose()
    store.record_round(study.id, [], [end(0, value=1.0)])
    store.close()
    with Store.open(str(path), mode="write") as later:  # no second time
        later.project(study.id, DISTRIBUTIONS, VALUES)
    assert [trial.user_attrs["loratune_number"] for trial in load(path)] == [2, 3, 0]


def test_nothing_is_written_twice_by_this_process_or_the_next(path, owned):
    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0), end(1, value=3.0)])
    for _ in range(2):
        store.project(study.id, DISTRIBUTIONS, VALUES)
    before = load(path)
    store.close()
    with Store.open(str(path), mode="write") as again:
        again.acquire(study.id)
        again.project(study.id, DISTRIBUTIONS, VALUES)
    assert load(path) == before
    assert len(before) == 2


def test_a_write_that_fails_half_way_is_made_up_for(path, owned, round_update, monkeypatch):
    store, study = owned
    store.record_round(study.id, [round_update(n, 1) for n in range(5)], [end(4, "pruned")])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    store.record_round(study.id, [], [end(n, value=2.0 + n) for n in range(4)])
    real, left = optuna_rows._add, [0]

    def add(*arguments):
        if left[0] == 0:
            raise StorageError("no space left")
        left[0] -= 1
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(optuna_rows, "AT_ONCE", 1)
        patch.setattr(optuna_rows, "_add", add)
        for stop in (0, 1, 2):
            left[0] = stop
            with pytest.raises(StorageError, match="no space left"):
                store.project(study.id, DISTRIBUTIONS, VALUES)
    store.project(study.id, DISTRIBUTIONS, VALUES)
    assert [trial.value for trial in load(path)] == [2.25, 2.0, 3.0, 4.0, 5.0]


def test_a_copy_that_was_deleted_from_outside_is_made_anew(path, owned):
    store, study = owned
    store.record_round(study.id, [], [end(1, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    theirs = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        optuna.delete_study(storage=theirs, study_name="first")  # a hand in the dashboard
        store.record_round(study.id, [], [end(3, value=4.0)])
        store.project(study.id, DISTRIBUTIONS, VALUES)
        assert [trial.value for trial in load(path)] == [2.0, 4.0]
        # SQLite gives the deleted study's id to the next one, which is not ours.
        optuna.delete_study(storage=theirs, study_name="first")
        other = optuna.create_study(storage=theirs, study_name="other")
        store.record_round(study.id, [], [end(0, value=1.0)])
        store.project(study.id, DISTRIBUTIONS, VALUES)
        assert [trial.value for trial in load(path)] == [2.0, 4.0, 1.0]
        assert other.get_trials() == []
    finally:
        theirs.remove_session()
        theirs.engine.dispose()


def test_a_value_outside_its_range_is_left_to_the_attributes(path, owned):
    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0)])
    encoded = {0: {"learning_rate": 5.0, "lora_rank": 128, "lora_target": "k_proj"}}
    store.project(study.id, DISTRIBUTIONS, encoded)
    (trial,) = load(path)
    assert trial.params == {}
    assert trial.user_attrs["params"]["lora_rank"] == 16


def test_only_the_trials_that_are_named_are_read(path, owned, round_update):
    store, study = owned
    store.record_round(study.id, [round_update(0, 1)], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    store.record_round(
        study.id, [round_update(1, 1), round_update(2, 1)], [end(1, value=2.0), end(2, value=3.0)]
    )
    store.project(study.id, DISTRIBUTIONS, VALUES, ended=[2])
    assert [trial.user_attrs["loratune_number"] for trial in load(path)] == [0, 2]
    store.release(study.id)
    with Store.open(str(path), mode="write") as later:  # who remembers nothing looks at all of them
        later.acquire(study.id)
        later.project(study.id, DISTRIBUTIONS, VALUES, ended=[2])
    assert [trial.user_attrs["loratune_number"] for trial in load(path)] == [0, 2, 1]


def test_a_copy_that_was_deleted_comes_back_whole_though_one_trial_is_named(path, owned, round_update):
    store, study = owned
    store.record_round(study.id, [round_update(0, 1)], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    with opened(path) as storage:
        storage.delete_study(storage.get_study_id_from_name("first"))
    store.record_round(study.id, [round_update(1, 1)], [end(1, value=3.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES, ended=[1])
    assert [trial.user_attrs["loratune_number"] for trial in load(path)] == [0, 1]
    assert [trial.params for trial in load(path)] == [VALUES[0], VALUES[1]]


class Broken(dict):
    """Values that are there and cannot be worked out."""

    def __getitem__(self, number):
        raise KeyError("no such parameter")


def test_a_fault_of_our_own_is_not_taken_for_a_copy_that_was_deleted(path, owned):
    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0)])
    with pytest.raises(KeyError, match="no such parameter"):
        store.project(study.id, DISTRIBUTIONS, Broken(VALUES))
    assert load(path) == []
    store.project(study.id, DISTRIBUTIONS, VALUES)
    assert [trial.params for trial in load(path)] == [VALUES[0]]


def test_a_key_error_while_rows_are_written_is_not_taken_for_a_copy_that_was_deleted(owned, monkeypatch):
    def add(*arguments):
        raise KeyError("a fault")

    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0)])
    monkeypatch.setattr(optuna_rows, "_add", add)
    with pytest.raises(KeyError, match="a fault"):
        store.project(study.id, DISTRIBUTIONS, VALUES)


@pytest.mark.parametrize("schema", [optuna_rows.SCHEMA, optuna_rows.SCHEMA - 1])
def test_a_copy_that_is_deleted_again_and_again_is_one_line(path, owned, monkeypatch, schema):
    store, study = owned
    real = optuna_rows.add

    def add(*arguments, **options):
        with opened(path) as theirs:  # a hand in the dashboard, each time
            optuna.delete_study(storage=theirs, study_name="first")
        return real(*arguments, **options)

    store.record_round(study.id, [], [end(0, value=2.0)])
    with monkeypatch.context() as patch:
        patch.setattr(optuna_rows, "SCHEMA", schema)
        patch.setattr(optuna_rows, "add", add)
        with pytest.raises(StorageError, match="was deleted twice while it was written") as caught:
            store.project(study.id, DISTRIBUTIONS, VALUES)
    assert "\n" not in str(caught.value)
    store.project(study.id, DISTRIBUTIONS, VALUES)
    assert [trial.value for trial in load(path)] == [2.0]


def test_a_full_disk_in_optunas_tables_is_one_line(path, owned, params, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna tries again after pauses
    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    for number in range(5, 60):
        store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
    store.record_round(study.id, [], [end(number, value=2.0) for number in range(1, 60)])
    engine = store._copy._projection._storage.engine
    with engine.connect() as connection:
        limit = [connection.exec_driver_sql("PRAGMA page_count").scalar()]

    @sqlalchemy.event.listens_for(engine, "checkout")
    def hold(connection, *_):  # each of the pool's connections keeps a limit of its own
        connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    with pytest.raises(StorageError, match="no space left on disk") as caught:
        store.project(study.id, DISTRIBUTIONS, VALUES)
    assert "\n" not in str(caught.value)
    limit[0] = 1_000_000
    store.project(study.id, DISTRIBUTIONS, VALUES)
    assert [trial.number for trial in load(path)] == list(range(60))


def test_an_optuna_of_another_schema_is_one_line(path, owned):
    store, study = owned
    store.project(study.id, {}, {})
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = 'v99'")
    connection.commit()
    connection.close()
    with Store.open(str(path), mode="write") as again:
        with pytest.raises(StorageError, match="Optuna") as caught:
            again.project(study.id, {}, {})
        assert "\n" not in str(caught.value)
        again.add_event(study.id, "our own tables go on")


def test_optuna_says_nothing_on_the_way(path, owned, caplog, capfd):
    store, study = owned
    store.record_round(study.id, [], [end(0, value=2.0)])
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        store.project(study.id, DISTRIBUTIONS, VALUES)
    assert capfd.readouterr() == ("", "")
