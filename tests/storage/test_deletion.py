"""A deleted study is gone from every table and from the disk, and nothing else is."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys

import optuna
import pytest
import sqlalchemy
from loratune.errors import StudyBusy, StudyNotFound
from loratune.storage import deletion
from loratune.storage.check import findings
from loratune.storage.store import Store
from loratune.study.locked_set import KIND
from loratune.study.records import Ending
from loratune.study.stage import Entry, Stage
from made_up_studies import IN_A_CHILD, make_config, make_facts
from optuna_copies import DISTRIBUTIONS, VALUES, load, opened


@pytest.fixture
def fill(params, round_update):
    """Give a study trials, files, events and a copy in Optuna's tables, and give it up."""

    def filled(store, study):
        store.acquire(study.id)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=7, source="tpe")
            store.record_round(study.id, [round_update(number, 1)])
        store.record_round(
            study.id, [], [Ending(trial=1, state="pruned", reason="slow", value=None, adapter=None)]
        )
        store.add_event(study.id, KIND, data="these data")
        store.project(study.id, DISTRIBUTIONS, VALUES)
        (store.study_dir(study.id) / "plain").mkdir()
        (store.study_dir(study.id) / "plain" / "state").write_bytes(b"x" * 1000)
        store.release(study.id)
        return study

    return filled


def contents(store):
    """Return how many rows each table has, but for notes of deleted studies."""
    with store.reading() as connection:
        names = sqlalchemy.inspect(connection).get_table_names()
        return {
            name: connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {name}")).scalar()
            for name in names
            if name != "tune_deleted"
        }


def test_every_row_of_it_and_of_its_copy_goes_and_the_others_stay(store, make_study, fill):
    first = fill(store, make_study(store, "first"))
    before, trials = contents(store), store.trials(first.id)
    fill(store, make_study(store, "second"))
    (gone,) = store.deletions.delete(["second"])
    assert (gone.name, gone.progress.trials, gone.kept_copy) == ("second", 2, None)
    assert contents(store) == before
    assert store.trials(first.id) == trials
    assert findings(store) == ()


def test_its_files_go_with_its_folder(store, make_study, fill):
    study = fill(store, make_study(store))
    (gone,) = store.deletions.delete(["first"])
    held = store.disk_bytes(study.id)
    assert store.deletions.delete_files(gone).bytes == held > 1000
    assert not store.study_dir(study.id).exists()
    assert store.deletions.unfinished() == ()


def test_no_later_study_gets_its_number(store, make_study, fill):
    study = fill(store, make_study(store))
    (gone,) = store.deletions.delete(["first"])
    store.deletions.delete_files(gone)
    assert make_study(store).id == study.id + 1


def test_its_looks_at_a_test_set_still_count(store, make_study, fill):
    fill(store, make_study(store))
    store.deletions.delete(["first"])
    assert store.deletions.looks("these data") == 1
    assert store.deletions.looks("other data") == 0


def test_all_go_or_none(store, make_study, fill):
    fill(store, make_study(store))
    before = contents(store)
    with pytest.raises(StudyNotFound, match=r"'frist': not in .*did you mean 'first'"):
        store.deletions.delete(["first", "frist"])
    assert contents(store) == before


def test_one_that_a_process_owns_is_refused(store, address, make_study):
    study = make_study(store)
    store.acquire(study.id)
    with (
        Store.open(address, mode="write") as other,
        pytest.raises(StudyBusy, match=r"'first': process \d+ .* interrupt it first.*nothing was deleted"),
    ):
        other.deletions.delete(["first"])
    assert store.study("first") == study


def test_a_study_of_the_users_own_in_optunas_tables_stays(path, make_study, fill):
    with Store.open(str(path), mode="create") as store:
        study = make_study(store)
        with opened(path) as theirs:
            optuna.create_study(storage=theirs, study_name="first").add_trial(optuna.create_trial(value=0.5))
        fill(store, study)
        assert [trial.value for trial in load(path, "first (loratune)")]
        (gone,) = store.deletions.delete(["first"])
        assert gone.kept_copy is None
    assert [trial.value for trial in load(path)] == [0.5]
    with opened(path) as theirs:
        assert [one.study_name for one in theirs.get_all_studies()] == ["first"]


def test_a_copy_that_holds_a_trial_of_others_stays_and_is_named(path, make_study, fill):
    with Store.open(str(path), mode="create") as store:
        fill(store, make_study(store))
        with opened(path) as theirs:
            optuna.load_study(storage=theirs, study_name="first").add_trial(optuna.create_trial(value=0.5))
        (gone,) = store.deletions.delete(["first"])
        assert gone.kept_copy == "first"
    assert 0.5 in [trial.value for trial in load(path)]


def test_the_tables_that_it_is_taken_from_are_all_of_optunas_that_name_a_study_or_a_trial():
    from optuna.storages._rdb import models

    columns = {
        name: set(table.columns.keys())
        for name, table in models.BaseModel.metadata.tables.items()
        if name not in ("studies", "trials")
    }
    assert set(deletion.OPTUNA_OF_A_TRIAL) == {name for name, has in columns.items() if "trial_id" in has}
    assert set(deletion.OPTUNA_OF_A_STUDY) == {name for name, has in columns.items() if "study_id" in has}


@pytest.mark.parametrize(
    "columns",
    ["study_id INTEGER, trial_id INTEGER, note TEXT", "note TEXT"],
    ids=["with our numbers", "with columns of its own"],
)
@pytest.mark.parametrize("table", ["study_notes", "trial_notes"])
def test_a_table_of_the_users_own_that_is_named_like_optunas_is_left_alone(
    path, make_study, fill, table, columns
):
    with Store.open(str(path), mode="create") as store:
        fill(store, make_study(store))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} ({columns})")
        row = {"study_id": 1, "trial_id": 1, "note": "mine"}
        named = [name for name in row if name in columns]
        marks = ", ".join(f":{name}" for name in named)
        connection.execute(f"INSERT INTO {table} ({', '.join(named)}) VALUES ({marks})", row)
        connection.commit()
    with Store.open(str(path), mode="write") as store:
        (gone,) = store.deletions.delete(["first"])
        assert gone.kept_copy is None
        assert contents(store)["trials"] == contents(store)["studies"] == 0
        assert contents(store)[table] == 1


def following_from(params, parent):
    return make_config(
        stage=Stage(kind="train", parent=parent, entries=(Entry(params=params, seed=0, trial=0),))
    )


def test_one_that_others_follow_from_goes_only_with_them(store, make_study, params):
    """Whoever deletes may have looked before the other was made."""
    make_study(store)
    store.create_study(
        name="first.train", trials=1, config=following_from(params, "first"), facts=make_facts()
    )
    with pytest.raises(StudyBusy, match=r"'first': first\.train follows from it, .*nothing was deleted"):
        store.deletions.delete(["first"])
    assert store.holds("first")
    assert len(store.deletions.delete(["first", "first.train"])) == 2
    assert store.studies() == ()


def test_files_stay_where_a_backup_beside_the_database_holds_the_study(path, make_study, fill):
    with Store.open(str(path), mode="create") as store:
        study = fill(store, make_study(store))
        store.backup(path.with_name("copy.db"))
    with Store.open(str(path.with_name("copy.db")), mode="write") as copy:
        (gone,) = copy.deletions.delete(["first"])
        freed = copy.deletions.delete_files(gone)
        assert (freed.bytes, "tune.db, which shares" in freed.kept) == (0, True)
    with Store.open(str(path), mode="read") as store:
        assert store.disk_bytes(study.id) > 1000
        assert findings(store) == ()


def test_a_study_whose_row_is_damaged_can_be_deleted(path, make_study, fill):
    with Store.open(str(path), mode="create") as store:
        fill(store, make_study(store))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tune_studies SET config = 'no json'")
        connection.execute("UPDATE tune_events SET detail = 'no json'")
    connection.close()
    with Store.open(str(path), mode="write") as store:
        assert store.deletions.parents() == {"first": None}
        store.deletions.delete(["first"])
        assert findings(store) == ()


def test_what_follows_is_found_through_what_follows_in_between():
    parents = {"a": None, "a.longer": "a", "a.longer.train": "a.longer", "b": None}
    assert deletion.following(parents, "a") == ("a.longer", "a.longer.train")
    assert deletion.following(parents, "b") == ()


DELETE = (
    IN_A_CHILD
    + """
import os, signal
from loratune.storage import deletion, deleted_files
from loratune.storage.store import Store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

address, module, name = sys.argv[1:]
{"deletion": deletion, "deleted_files": deleted_files}[module].__dict__[name] = die
with Store.open(address, mode="write") as store:
    for gone in store.deletions.delete(["first"]):
        store.deletions.delete_files(gone)
"""
)
MOMENTS = [
    ("deletion", "_delete_copy", True),
    ("deleted_files", "_empty", False),
    ("deleted_files", "forget_files", False),
]


@pytest.mark.parametrize(("module", "name", "is_there"), MOMENTS)
def test_a_kill_leaves_a_whole_database_and_the_rest_goes_later(
    path, make_study, fill, module, name, is_there
):
    with Store.open(str(path), mode="create") as store:
        study = fill(store, make_study(store))
    done = subprocess.run([sys.executable, "-c", DELETE, str(path), module, name], check=False)
    assert done.returncode == -signal.SIGKILL
    with Store.open(str(path), mode="write") as store:
        assert findings(store) == ()
        assert store.holds("first") is is_there
        for left in store.deletions.unfinished():
            store.deletions.delete_files(left)
        assert store.study_dir(study.id).exists() is is_there
        assert findings(store) == ()


def test_a_servers_study_leaves_a_folder_that_is_not_seen_to_be_its_own(address, make_study, fill):
    """Two databases on servers may be used from one folder, and one from two folders."""
    if "://" not in address:
        pytest.skip("the folder of a file's studies lies beside it")
    with Store.open(address, mode="create") as store:
        study = fill(store, make_study(store))
        note = store.study_dir(study.id) / "progress.json"
        note.write_text('{"trials": 5, "quanta": 9, "ended": 1}')
        (gone,) = store.deletions.delete(["first"])
        assert "is not seen to be of this study" in store.deletions.delete_files(gone).kept
        assert note.exists()
