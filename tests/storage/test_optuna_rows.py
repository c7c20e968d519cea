"""Rows of Optuna's tables as we write them: many in one commit, and as Optuna itself would."""

import sqlite3

import sqlalchemy
from loratune.storage import optuna_rows
from optuna_copies import DISTRIBUTIONS, VALUES, end, load, opened


def test_trials_that_ended_together_are_one_commit(path, owned, round_update):
    store, study = owned
    store.record_round(study.id, [round_update(0, 1)], [end(0, value=2.0)])
    store.project(study.id, DISTRIBUTIONS, VALUES)
    for number in (1, 2):
        store.record_round(study.id, [round_update(number, 1)], [end(number, value=2.0)])
    commits = []
    sqlalchemy.event.listen(store._copy._projection._storage.engine, "commit", lambda _: commits.append(1))
    written = store._copy._projection.write(
        study, store.trials(study.id), store.curve(study.id), DISTRIBUTIONS, VALUES
    )
    assert written == len(load(path)) - 1 == 2
    assert len(commits) == 1


def test_its_rows_are_those_that_optuna_itself_would_write(path, owned, round_update, monkeypatch):
    store, study = owned
    for step in (1, 2):
        store.record_round(study.id, [round_update(n, step, eval_loss=3.0 - step / 10) for n in range(5)])
    ends = [end(0, value=2.5), end(1, "pruned"), end(2, "diverged"), end(3, "infeasible"), end(4, "failed")]
    store.record_round(study.id, [], ends)
    store.project(study.id, DISTRIBUTIONS, VALUES)
    ours = content(path)
    assert ours["trials"]
    with opened(path) as storage:
        storage.delete_study(storage.get_study_id_from_name("first"))
    store._copy._projection._studies.clear()  # it looks again what is there
    monkeypatch.setattr(optuna_rows, "SCHEMA", 0)  # as if its tables were unknown
    store.project(study.id, DISTRIBUTIONS, VALUES)
    assert content(path) == ours


def content(path):
    """Return Optuna's rows of trials without the ids that merely count."""
    found = {}
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        first = connection.execute("SELECT min(trial_id) FROM trials").fetchone()[0]
        kinds = ("values", "params", "user_attributes", "system_attributes", "intermediate_values")
        for table in ("trials", *(f"trial_{kind}" for kind in kinds)):
            rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for row in rows:
                row["trial_id"] -= first
                for key in [key for key in row if key.endswith("_id") and key != "trial_id"]:
                    del row[key]
            found[table] = sorted(rows, key=repr)
    return found
