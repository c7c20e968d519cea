"""Optuna's own tools open the file and see the study as it is."""

import logging
import sqlite3
import warnings

import optuna
import pytest
import sqlalchemy
from loratune.spaces.errors import StorageError
from loratune.storage.projection import Projection
from loratune.storage.records import Ending
from loratune.storage.store import Store
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

DISTRIBUTIONS = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "lora_rank": IntDistribution(0, 3),
    "lora_target": CategoricalDistribution(["all", "q_proj"]),
}
ENCODED = {
    number: {"learning_rate": 10.0 ** -(1 + number % 4), "lora_rank": number % 4, "lora_target": "all"}
    for number in range(20)
}


def end(trial, state="complete", value=None):
    reason = None if state == "complete" else f"because {trial}"
    return Ending(trial=trial, state=state, reason=reason, value=value, adapter=None)


@pytest.fixture
def owned(path, make_study, params):
    """A study of five running trials."""
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        store.acquire(study.id)
        for number in range(5):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        yield store, study


def load(path):
    """Read the study as Optuna's users do, and close what Optuna leaves open."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        return optuna.load_study(storage=storage, study_name="first").get_trials()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def test_optuna_reads_parameters_losses_states_and_times(path, owned, quantum, params):
    store, study = owned
    for step in (1, 2):
        store.record_quantum(study.id, [quantum(n, step, eval_loss=3.0 - step / 10) for n in range(5)])
    store.record_quantum(
        study.id,
        [],
        [end(0, value=2.5), end(1, "pruned"), end(2, "diverged"), end(3, "infeasible"), end(4, "failed")],
    )
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    trials = load(path)
    ours = store.trials(study.id)
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED", "PRUNED"]
    assert [trial.params for trial in trials] == [ENCODED[n] for n in range(5)]
    assert [trial.distributions for trial in trials] == [DISTRIBUTIONS] * 5
    assert trials[0].intermediate_values == {1: 2.9, 2: 2.8}
    assert [trial.value for trial in trials] == [2.5, 2.8, 5.8, 5.8, 5.8]
    assert trials[2].user_attrs == {
        "loratune_number": 2,
        "state": "diverged",
        "reason": "because 2",
        "params": params.to_dict(),
    }
    for trial, our in zip(trials, ours, strict=True):
        assert trial.datetime_start.astimezone() == our.started_at
        assert trial.datetime_complete.astimezone() == our.finished_at


def test_a_running_trial_holds_its_number_and_ends_later(path, owned, quantum):
    store, study = owned
    store.record_quantum(study.id, [quantum(n, 1) for n in range(5)], [end(2, "pruned")])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    assert [trial.state.name for trial in load(path)] == ["RUNNING", "RUNNING", "PRUNED"]
    assert load(path)[0].params == ENCODED[0]
    store.record_quantum(study.id, [], [end(n, value=2.0 + n) for n in (0, 1, 3, 4)])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    trials = load(path)
    assert [trial.user_attrs["loratune_number"] for trial in trials] == [0, 1, 2, 3, 4]
    assert [trial.value for trial in trials] == [2.0, 3.0, 2.25, 5.0, 6.0]
    assert [trial.user_attrs["state"] for trial in trials] == ["complete"] * 2 + ["pruned"] + ["complete"] * 2
    assert trials[0].intermediate_values == {1: 2.25}


def test_nothing_is_written_twice_by_this_process_or_the_next(path, owned):
    store, study = owned
    store.record_quantum(study.id, [], [end(0, value=2.0), end(1, value=3.0)])
    for _ in range(2):
        store.project(study.id, DISTRIBUTIONS, ENCODED)
    before = load(path)
    store.close()
    with Store.open(str(path), mode="write") as again:
        again.acquire(study.id)
        again.project(study.id, DISTRIBUTIONS, ENCODED)
    assert load(path) == before
    assert len(before) == 2


def test_a_write_that_fails_half_way_is_made_up_for(path, owned, quantum, monkeypatch):
    store, study = owned
    store.record_quantum(study.id, [quantum(n, 1) for n in range(5)], [end(4, "pruned")])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    store.record_quantum(study.id, [], [end(n, value=2.0 + n) for n in range(4)])
    real, left = Projection._apply, [0]

    def apply(self, *arguments):
        if left[0] == 0:
            raise StorageError("no space left")
        left[0] -= 1
        real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Projection, "_apply", apply)
        for stop in (0, 1, 2, 5):
            left[0] = stop
            with pytest.raises(StorageError, match="no space left"):
                store.project(study.id, DISTRIBUTIONS, ENCODED)
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    trials = load(path)
    assert [trial.value for trial in trials] == [2.0, 3.0, 4.0, 5.0, 2.25]
    assert [trial.intermediate_values for trial in trials] == [{1: 2.25}] * 5


def test_a_copy_that_was_deleted_or_ended_from_outside_is_mended(path, owned):
    store, study = owned
    store.record_quantum(study.id, [], [end(1, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    theirs = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        optuna.load_study(storage=theirs, study_name="first").tell(0, 9.0)  # a hand in the dashboard
        store.record_quantum(study.id, [], [end(0, value=1.0), end(2, value=3.0)])
        store.project(study.id, DISTRIBUTIONS, ENCODED)
        assert [trial.value for trial in load(path)] == [9.0, 2.0, 3.0]
        assert [trial.value for trial in store.trials(study.id)[:3]] == [1.0, 2.0, 3.0]
        optuna.delete_study(storage=theirs, study_name="first")
    finally:
        theirs.remove_session()
        theirs.engine.dispose()
    store.record_quantum(study.id, [], [end(3, value=4.0)])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    assert [trial.value for trial in load(path)] == [1.0, 2.0, 3.0, 4.0]


def test_a_value_outside_its_range_is_left_to_the_attributes(path, owned):
    store, study = owned
    store.record_quantum(study.id, [], [end(0, value=2.0)])
    encoded = {0: {"learning_rate": 5.0, "lora_rank": 9, "lora_target": "k_proj"}}
    store.project(study.id, DISTRIBUTIONS, encoded)
    (trial,) = load(path)
    assert trial.params == {}
    assert trial.user_attrs["params"]["lora_rank"] == 16


def test_a_trial_is_one_commit(path, owned, quantum):
    store, study = owned
    store.record_quantum(study.id, [quantum(0, 1)], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    for number in (1, 2):
        store.record_quantum(study.id, [quantum(number, 1)], [end(number, value=2.0)])
    written = store._projection.write(
        study, store.trials(study.id), store.curve(study.id), DISTRIBUTIONS, ENCODED, worst=2.0
    )
    assert written == 2


def test_a_full_disk_in_optunas_tables_is_one_line(path, owned, params, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # Optuna tries again after pauses
    store, study = owned
    store.record_quantum(study.id, [], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, ENCODED)
    for number in range(5, 60):
        store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
    store.record_quantum(study.id, [], [end(number, value=2.0) for number in range(1, 60)])
    engine = store._projection._storage.engine
    with engine.connect() as connection:
        limit = [connection.exec_driver_sql("PRAGMA page_count").scalar()]

    @sqlalchemy.event.listens_for(engine, "checkout")
    def hold(connection, *_):  # each of the pool's connections keeps a limit of its own
        connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    with pytest.raises(StorageError, match="no space left on disk") as caught:
        store.project(study.id, DISTRIBUTIONS, ENCODED)
    assert "\n" not in str(caught.value)
    limit[0] = 1_000_000
    store.project(study.id, DISTRIBUTIONS, ENCODED)
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
    store.record_quantum(study.id, [], [end(0, value=2.0)])
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        store.project(study.id, DISTRIBUTIONS, ENCODED)
    assert capfd.readouterr() == ("", "")
