"""``tune db check`` finds what is wrong, and nothing where nothing is."""

import shutil
import sqlite3

import numpy as np
import pytest
from loratune import digest
from loratune.storage.check import copy_findings, findings, trial_findings
from loratune.storage.store import Store
from loratune.study.records import Ending
from made_up_studies import progress_of
from safetensors.numpy import save


def sealed(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = save({"params/x.lora_A": np.ones((4, 4), np.float32)}, metadata=digest.LABELS)
    path.write_bytes(b"".join(digest.seal(content)))


@pytest.fixture
def study(address, make_study, params, round_update):
    """A study of three trials, the first complete with its adapter, the others with their checkpoints."""
    with Store.open(address, mode="create") as store:
        made = make_study(store)
        folder = store.study_dir(made.id)
        for number in range(3):
            store.add_trial(made.id, number=number, params=params, seed=0, source="tpe")
            sealed(folder / f"checkpoints/trial-{number}-q1")
        sealed(folder / "adapters/trial-0")
        store.record_round(
            made.id,
            [round_update(number, 1, checkpoint=f"checkpoints/trial-{number}-q1") for number in range(3)],
        )
        ending = Ending(trial=0, state="complete", reason=None, value=2.0, adapter="adapters/trial-0")
        store.record_round(made.id, [], [ending])
        (folder / "checkpoints/trial-0-q1").unlink()
        store.project(made.id, {}, {})
        yield store, made


def test_a_whole_study_has_no_findings_while_it_is_owned_and_after(address, study):
    store, made = study
    with Store.open(address, mode="read") as reader:
        assert findings(reader) == ()
        store.acquire(made.id)
        assert findings(reader) == ()
        store.close()
        assert findings(reader) == ()


def test_a_file_that_is_missing_or_damaged_is_named(study):
    store, made = study
    folder = store.study_dir(made.id)
    (folder / "checkpoints/trial-1-q1").unlink()
    adapter = folder / "adapters/trial-0"
    content = bytearray(adapter.read_bytes())
    content[-3] ^= 1
    adapter.write_bytes(content)
    damaged, missing = findings(store)
    assert damaged == f"study first: trial 0: {adapter} is damaged; tune export trains it again"
    assert missing.startswith(f"study first: trial 1: {folder / 'checkpoints/trial-1-q1'} is not there;")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM tune_trials WHERE number = 1", "trial 1 is missing"),
        (
            "UPDATE tune_trials SET quanta = 2, seal = NULL WHERE number = 2",
            "trial 2: its curve does not hold rounds 1 to 2",
        ),
        (
            "UPDATE tune_evaluations SET losses = x'0011' WHERE trial = 2",
            "losses of trial 2 after round 1 cannot be read",
        ),
        (
            "UPDATE tune_trials SET params = 'no json' WHERE number = 2",
            "trial 2: its row cannot be read",
        ),
        ("DELETE FROM trial_user_attributes", "Optuna's tables lack 1 trial that has ended"),
        (
            "UPDATE trial_user_attributes SET value_json = '2' WHERE key = 'loratune_number'",
            "trial 2: is in Optuna's tables and has not ended",
        ),
    ],
)
def test_a_record_that_does_not_hold_together_is_told(path, study, statement, words):
    store, _ = study
    if store.url != str(path):
        pytest.skip("written past the rules of a file")
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    with Store.open(str(path), mode="read") as reader:
        found = findings(reader)
    assert any(words in finding for finding in found), found
    assert not any("\n" in finding for finding in found)


def test_a_damaged_evaluation_hides_nothing_else(path, study):
    store, made = study
    if store.url != str(path):
        pytest.skip("written past the rules of a file")
    (store.study_dir(made.id) / "checkpoints/trial-1-q1").unlink()
    store.add_event(made.id, "created")
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE tune_evaluations SET losses = x'0011' WHERE trial IN (0, 2)")
    connection.execute("UPDATE tune_events SET kind = 'other'")
    connection.commit()
    connection.close()
    with Store.open(str(path), mode="read") as reader:
        found = findings(reader)
    assert [finding.partition(": ")[2] for finding in found[:3]] == [
        *(f"trial {number}: the losses of trial {number} after round 1 cannot be read" for number in (0, 2)),
        "an event cannot be read",
    ]
    assert len(found) == 4
    assert "trial-1-q1 is not there" in found[3]


def damage(path, *statements):
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    with Store.open(str(path), mode="read") as reader:
        return findings(reader)


def test_damaged_rows_hide_no_others_and_are_taken_for_nothing_else(path, study, make_study):
    store, made = study
    if store.url != str(path):
        pytest.skip("written past the rules of a file")
    make_study(store, "second")
    (store.study_dir(made.id) / "checkpoints/trial-1-q1").unlink()
    store.close()
    found = damage(
        path,
        "UPDATE tune_trials SET params = 'no json' WHERE number = 0",  # complete, and copied to Optuna
        "UPDATE tune_trials SET seed = 99 WHERE number = 2",  # its seal no longer fits
        "UPDATE tune_curve SET eval_loss = 0.5 WHERE trial = 1",
    )
    assert [finding.partition("study first: ")[2] for finding in found[:3]] == [
        "trial 0: its row cannot be read",
        "trial 2: its row cannot be read",
        "trial 1: its curve after round 1 cannot be read",
    ]
    assert len(found) == 4
    assert "trial-1-q1 is not there" in found[3]


def test_a_study_that_cannot_be_read_hides_no_other(path, study, make_study):
    store, made = study
    if store.url != str(path):
        pytest.skip("written past the rules of a file")
    make_study(store, "second")
    (store.study_dir(made.id) / "checkpoints/trial-1-q1").unlink()
    store.close()
    found = damage(path, "UPDATE tune_studies SET config = 'no json' WHERE name = 'second'")
    assert len(found) == 2
    assert any("study second: its rows cannot be read" in finding for finding in found)
    assert any("study first: trial 1: " in finding for finding in found)


def test_of_many_damaged_rows_a_few_are_named_and_the_others_counted(path, study, params, round_update):
    store, made = study
    if store.url != str(path):
        pytest.skip("written past the rules of a file")
    for number in range(3, 20):
        store.add_trial(made.id, number=number, params=params, seed=0, source="tpe")
    store.record_round(made.id, [round_update(number, 1) for number in range(3, 20)])
    store.close()
    found = damage(
        path,
        "UPDATE tune_trials SET seed = 99 WHERE number > 2",
        "UPDATE tune_curve SET eval_loss = 0.5 WHERE trial > 2",
        "UPDATE tune_evaluations SET losses = x'0011' WHERE trial > 2",
    )
    said = [finding.removeprefix("study first: ") for finding in found]
    assert said[:6] == [
        *(f"trial {number}: its row cannot be read" for number in range(3, 8)),
        "rows of trials: 12 more cannot be read",
    ]
    assert said[11] == "points of curves: 12 more cannot be read"
    assert said[17:] == ["losses of trials: 12 more cannot be read"]


def test_a_damaged_page_is_told(path, study, params):
    store, made = study
    if store.url != str(path):
        pytest.skip("a file's own matter")
    for number in range(3, 200):
        store.add_trial(made.id, number=number, params=params, seed=0, source="tpe")
    store.close()
    content = bytearray(path.read_bytes())
    connection = sqlite3.connect(path)
    (page,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_tune_trials_1'"
    ).fetchone()
    connection.close()
    content[(page - 1) * 4096 + 8 : page * 4096] = bytes(4096 - 8)
    path.write_bytes(content)
    with Store.open(str(path), mode="read") as reader:
        found = findings(reader)
    assert found
    assert found[0].startswith(f"{path}: damaged: ")


def test_an_older_copy_of_the_database_is_told(path, study, round_update, tmp_path):
    store, made = study
    if store.url != str(path):
        pytest.skip("a file's own matter")
    store.fold_log()
    shutil.copy(path, tmp_path / "old.db")
    for step in (2, 3):
        checkpoint = f"checkpoints/trial-1-q{step}"
        sealed(store.study_dir(made.id) / checkpoint)
        store.record_round(made.id, [round_update(1, step, checkpoint=checkpoint)])
    store.close()
    shutil.copy(tmp_path / "old.db", path)
    with Store.open(str(path), mode="read") as reader:
        (found,) = findings(reader)
    assert "holds 3 trials, 1 ended, 3 rounds, but 3 trials, 1 ended, 5 rounds were recorded" in found


def test_what_a_running_search_has_not_copied_yet_is_no_finding(study, round_update):
    store, made = study
    store.record_round(made.id, [], [Ending(trial=2, state="pruned", reason="why", value=None, adapter=None)])
    trials = store.trials(made.id)
    assert list(copy_findings(trials, {0: 1}, live=True)) == []
    assert list(copy_findings(trials, {0: 1}, live=False)) == [
        "Optuna's tables lack 1 trial that has ended; tune resume adds it"
    ]
    assert list(copy_findings(trials, {0: 2, 2: 1}, live=True)) == ["trial 0: is 2 times in Optuna's tables"]
    assert list(copy_findings(trials, None, live=False)) == []


def test_one_is_spoken_of_as_one(study):
    store, made = study
    trials = store.trials(made.id)
    assert list(trial_findings(trials[1:], []))[:1] == ["trial 0 is missing"]
    assert list(trial_findings(trials[2:], []))[:1] == ["trials 0, 1 are missing"]
    assert progress_of(trials[:1]).words == "1 trial, 1 ended, 1 round"


def test_a_damaged_state_that_a_longer_trial_goes_on_from_is_named(study):
    store, made = study
    held = store.study_dir(made.id) / "held" / "trial-00002.safetensors"
    sealed(held)
    assert findings(store) == ()
    held.write_bytes(held.read_bytes()[:-1])
    (found,) = findings(store)
    assert found == (
        f"study first: trial 2: {held}, from which a longer trial goes on, is damaged; that trial would "
        "begin anew"
    )
