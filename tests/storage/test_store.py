"""What every database must do for a study: one class, run over each of them."""

import dataclasses
import datetime
import json
import os
import stat
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from loratune.errors import StaleOwner, StorageError, StudyBusy, StudyExists, StudyNotFound
from loratune.storage import progress_note, queries, trial_writes
from loratune.storage.check import findings
from loratune.storage.store import Store
from loratune.study.records import Ending
from made_up_studies import make_config, make_facts


def ending(trial, state="complete", reason=None, value=None, adapter=None):
    if state == "complete" and value is None:
        value = 2.0
    if state != "complete" and reason is None:
        reason = "worse than its peers"
    return Ending(trial=trial, state=state, reason=reason, value=value, adapter=adapter)


class TestStudies:
    def test_a_study_is_read_as_it_was_made(self, store, make_study):
        made = make_study(store)
        found = store.study("first")
        assert found == made
        assert (found.name, found.trials, found.seed) == ("first", 10, 7)
        assert (found.config, found.facts) == (make_config(default_source="ü", seed=7), make_facts())
        assert found.created_at.tzinfo is not None
        assert abs(found.created_at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
        (head,) = store.studies()
        assert vars(head).items() <= vars(made).items()

    def test_a_taken_name_is_refused(self, store, make_study):
        make_study(store)
        with pytest.raises(StudyExists, match="tune resume first"):
            make_study(store)
        assert len(store.studies()) == 1

    @pytest.mark.parametrize(
        "name", ["", "a b", "../x", "a" * 65, "x\0", "x\n", "süß", "a/b", "'; DROP TABLE tune_studies"]
    )
    def test_a_name_outside_the_allow_list_is_refused(self, store, make_study, name):
        with pytest.raises(StorageError, match="use 1 to 64 letters"):
            make_study(store, name)
        assert store.studies() == ()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("config = json_remove(config, '$.objective.model')", "the stored configuration cannot be read"),
            ("config = json_set(config, '$.sampler', 'oracle')", "the stored configuration cannot be read"),
            ("config = '[]'", "the stored configuration cannot be read"),
            ("facts = json_remove(facts, '$.base_loss')", "the stored facts cannot be read"),
            ("facts = json_set(facts, '$.budget.round_examples', 'many')", "the stored facts cannot be read"),
            (
                'facts = replace(facts, \'"base_loss": \', \'"base_loss": NaN, "x": \')',
                "the stored facts cannot",
            ),
            ("facts = '{}'", "the stored facts cannot be read"),
        ],
    )
    def test_one_of_another_version_is_one_line_and_listed_beside_the_others(
        self, store, make_study, change, words
    ):
        if store.artifacts is None or not store.url.endswith(".db"):
            pytest.skip("written with SQLite's own functions")
        make_study(store, "strange")
        other = make_study(store, "other")
        with store._connections.transaction() as connection:
            connection.exec_driver_sql(
                f"UPDATE tune_studies SET {change}, seal = NULL WHERE name = 'strange'"
            )
        with pytest.raises(StorageError, match=f"study 'strange': {words}") as caught:
            store.study("strange")
        assert "\n" not in str(caught.value)
        assert "tune db check" in str(caught.value)
        assert store.study("other") == other
        assert [study.name for study in store.studies()] == ["strange", "other"]
        found = findings(store)
        assert len(found) == 1
        assert found[0].startswith("study strange: its configuration or what was found for it is not")

    def test_a_study_without_what_was_added_later_is_read(self, store, make_study):
        made = make_study(store)
        config, facts = made.config.to_json(), made.facts.to_json()
        del config["sampler"], config["keep_adapters"], config["objective"]["data"]["columns"]
        del facts["notes"], facts["data"]["endings"], facts["model"]["files"], facts["budget"]["notes"]
        facts["of a later version"] = 1
        values = (json.dumps(config), json.dumps(facts))
        with store._connections.transaction() as connection:
            query = sqlalchemy.text("UPDATE tune_studies SET config = :config, facts = :facts, seal = NULL")
            connection.execute(query, dict(zip(("config", "facts"), values, strict=True)))
        assert store.study("first") == made

    def test_an_unknown_name_gets_the_nearest(self, store, make_study):
        make_study(store, "llama-short")
        with pytest.raises(StudyNotFound, match=r"did you mean 'llama-short'\?"):
            store.study("lama-short")

    def test_no_study_at_all_says_what_makes_one(self, store):
        with pytest.raises(StudyNotFound, match="tune search makes one"):
            store.study(None)

    def test_the_latest_is_the_one_last_worked_on(self, store, make_study):
        first, second = make_study(store, "first"), make_study(store, "second")
        assert store.study(None).id == second.id
        store.add_event(first.id, "resumed")
        assert store.study(None).id == first.id

    def test_the_wanted_trials_can_be_raised(self, store, make_study):
        study = make_study(store)
        store.set_trials(study.id, 150)
        assert store.study("first").trials == 150

    def test_writing_to_a_study_that_is_not_there_is_refused(self, store):
        with pytest.raises(StudyNotFound, match="study 99"):
            store.add_event(99, "x")

    def test_a_value_that_json_cannot_hold_is_one_line(self, store):
        facts = dataclasses.replace(make_facts(), rows_per_second=float("nan"))
        with pytest.raises(StorageError, match="cannot be stored") as caught:
            store.create_study(name="x", trials=1, config=make_config(), facts=facts)
        assert "\n" not in str(caught.value)
        assert store.studies() == ()

    @pytest.mark.parametrize("name", [".", "..", "-x", ".x", "", "a/b", "x" * 65])
    def test_a_name_that_is_none_is_refused(self, store, make_study, name):
        with pytest.raises(StorageError, match="1 to 64 letters"):
            make_study(store, name)
        assert store.studies() == ()

    def test_a_study_whose_name_was_taken_by_older_code_opens(self, store, make_study):
        made = make_study(store)
        with store._connections.transaction() as connection:
            connection.exec_driver_sql("UPDATE tune_studies SET name = '-x', seal = NULL")
        assert store.study("-x").id == made.id
        store.acquire(made.id)
        with pytest.raises(StudyExists):
            make_study(store, "-x")

    def test_a_name_that_optuna_uses_for_another_study_is_refused(self, store, make_study, tmp_path):
        first = make_study(store, "first")
        store.project(first.id, {}, {})  # makes Optuna's tables
        with store._connections.transaction() as connection:
            connection.exec_driver_sql("INSERT INTO studies (study_name) VALUES ('theirs')")
        with pytest.raises(StudyExists, match="'theirs'"):
            make_study(store, "theirs")

    def test_its_folder_is_never_shared_with_another_database(self, store, make_study, tmp_path):
        (tmp_path / "tune-artifacts" / "1").mkdir(parents=True)
        study = make_study(store)
        assert study.id == 2
        assert store.study_dir(2) == tmp_path / "tune-artifacts" / "2"
        assert stat.S_IMODE(store.study_dir(2).stat().st_mode) == 0o700


class TestTrials:
    def test_a_trial_is_read_as_it_was_added(self, store, make_study, params):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=2**40, source="default")
        (trial,) = store.trials(study.id)
        assert (trial.number, trial.params, trial.seed, trial.source) == (0, params, 2**40, "default")
        assert (trial.state, trial.rounds, trial.attempt) == ("running", 0, 0)
        assert (trial.reason, trial.value, trial.checkpoint, trial.adapter, trial.finished_at) == (None,) * 5

    def test_more_can_be_named_than_one_statement_takes(
        self, store, make_study, params, round_update, monkeypatch
    ):
        study = make_study(store)
        for number in range(7):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        with store._connections.writing(study.id) as connection, monkeypatch.context() as patch:
            patch.setattr(queries, "AT_ONCE", 3)
            updates = [round_update(n, 1) for n in (6, 1, 0, 5, 2)]
            trial_writes.record(connection, study.id, store.study_dir(study.id), updates)
            found = queries.trials(connection, study.id, (6, 0, 5, 1, 2))
            assert [trial.number for trial in found] == [0, 1, 2, 5, 6]
            found = queries.curve(connection, study.id, (6, 0, 5, 1))
            assert [point.trial for point in found] == [0, 1, 5, 6]
            assert queries.trials(connection, study.id, ()) == ()
        many = range(300_000)  # no build of SQLite that we know takes so many in one
        with store._connections.writing(study.id) as connection:
            assert len(queries.trials(connection, study.id, many)) == 7
            assert len(queries.curve(connection, study.id, many)) == 5
            trial_writes.forget_adapters(connection, study.id, many)
        assert findings(store) == ()  # every seal is right

    @pytest.mark.parametrize("number", [0, 2, 7, -1])
    def test_a_number_that_is_not_the_next_is_refused(self, store, make_study, params, number):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="default")
        with pytest.raises(StorageError, match="the next number is 1"):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        assert len(store.trials(study.id)) == 1

    def test_each_study_counts_for_itself(self, store, make_study, params):
        for name in ("first", "second"):
            study = make_study(store, name)
            store.add_trial(study.id, number=0, params=params, seed=0, source="default")
            assert [trial.number for trial in store.trials(study.id)] == [0]

    def test_an_attempt_is_counted(self, store, make_study, params):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="default")
        assert [store.begin_attempt(study.id, 0) for _ in range(2)] == [1, 2]
        assert store.trials(study.id)[0].attempt == 2
        with pytest.raises(StorageError, match="trial 5: not in study"):
            store.begin_attempt(study.id, 5)

    def test_a_round_is_read_as_it_was_recorded(self, store, make_study, params, round_update):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        updates = [round_update(0, 1, checkpoint="checkpoints/a"), round_update(1, 1, eval_loss=None)]
        store.record_round(study.id, updates)
        assert store.curve(study.id) == (updates[0].point, updates[1].point)
        assert store.curve(study.id, 1) == (updates[1].point,)
        first, second = store.trials(study.id)
        assert (first.rounds, first.checkpoint) == (1, "checkpoints/a")
        assert (second.rounds, second.checkpoint) == (1, None)
        found = store.evaluation(study.id, 0, 1)
        assert found.losses.dtype == np.float32
        assert found.tokens.dtype == np.int64
        assert found.losses.tolist() == updates[0].evaluation.losses.tolist()
        assert found.tokens.tolist() == [3, 70_000, 1]
        assert store.evaluation(study.id, 1, 1) is None
        assert list(store.evaluations(study.id, 1)) == [0]
        assert store.evaluations(study.id, 2) == {}

    def test_what_is_not_finite_is_recorded_as_missing(self, store, make_study, params, round_update):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1, train_loss=float("nan"), eval_loss=float("inf"))])
        (point,) = store.curve(study.id)
        assert (point.train_loss, point.eval_loss) == (None, None)

    def test_a_number_of_numpy_is_stored_as_a_number(self, store, make_study, params, round_update):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1, train_loss=np.float32(1.5))])
        store.record_round(study.id, [], [ending(0, value=np.float32(0.5))])
        assert store.curve(study.id)[0].train_loss == 1.5
        assert store.trials(study.id)[0].value == 0.5

    @pytest.mark.parametrize("wrong", [1, 3, 8])
    def test_a_round_out_of_order_is_refused_and_nothing_of_it_stays(
        self, store, make_study, params, round_update, wrong
    ):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        store.record_round(study.id, [round_update(0, 1), round_update(1, 1)])
        before = store.trials(study.id), store.curve(study.id)
        with pytest.raises(StorageError, match=f"round {wrong} does not follow 1"):
            store.record_round(study.id, [round_update(0, 2), round_update(1, wrong)])
        assert (store.trials(study.id), store.curve(study.id)) == before

    @pytest.mark.parametrize("file", ["../x", "/etc/passwd", "checkpoints/../../x", ""])
    def test_a_file_outside_the_study_is_refused(self, store, make_study, params, round_update, file):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match="outside the study's folder"):
            store.record_round(study.id, [round_update(0, 1, checkpoint=file)])

    def test_an_absolute_file_inside_the_study_is_stored_relative(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        inside = store.study_dir(study.id) / "checkpoints" / "a"
        store.record_round(study.id, [round_update(0, 1, checkpoint=str(inside))])
        assert store.trials(study.id)[0].checkpoint == "checkpoints/a"

    def test_endings_are_recorded_with_their_round_or_not_at_all(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        for number in (0, 1):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match="not a finite number"):
            store.record_round(
                study.id, [round_update(0, 1), round_update(1, 1)], [ending(0), ending(1, value=float("nan"))]
            )
        assert [trial.state for trial in store.trials(study.id)] == ["running", "running"]
        assert store.curve(study.id) == ()
        store.record_round(
            study.id,
            [round_update(0, 1, checkpoint="checkpoints/a"), round_update(1, 1)],
            [ending(0, value=1.25, adapter="adapters/a"), ending(1, "pruned")],
        )
        first, second = store.trials(study.id)
        assert (first.state, first.value, first.adapter, first.checkpoint) == (
            "complete",
            1.25,
            "adapters/a",
            None,
        )
        assert (second.state, second.value, second.reason) == ("pruned", None, "worse than its peers")
        assert first.finished_at >= first.started_at

    @pytest.mark.parametrize("state", ["complete", "pruned", "diverged", "infeasible", "failed"])
    def test_a_finished_trial_is_never_changed(self, store, make_study, params, round_update, state):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.record_round(study.id, [], [ending(0, state)])
        before = store.trials(study.id)
        for change in (
            lambda: store.record_round(study.id, [], [ending(0, value=0.1)]),
            lambda: store.record_round(study.id, [round_update(0, 1)]),
            lambda: store.begin_attempt(study.id, 0),
        ):
            with pytest.raises(StorageError, match=f"has ended \\({state}\\)"):
                change()
        assert store.trials(study.id) == before

    @pytest.mark.parametrize(
        ("made", "words"),
        [
            ({"state": "running", "value": None}, "cannot end as 'running'"),
            ({"state": "lost", "reason": "x"}, "cannot end as 'lost'"),
            ({"state": "complete", "value": float("inf")}, "not a finite number"),
            ({"state": "pruned", "value": 1.0}, "only a complete trial has a value"),
            ({"state": "failed", "reason": ""}, "without a reason"),
        ],
    )
    def test_an_ending_that_makes_no_sense_is_refused(self, store, make_study, params, made, words):
        study = make_study(store)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        with pytest.raises(StorageError, match=words):
            store.record_round(study.id, [], [ending(0, **made)])
        assert store.trials(study.id)[0].state == "running"


class TestEvents:
    def test_events_are_read_in_order_and_by_kind(self, store, make_study):
        study = make_study(store)
        store.add_event(study.id, "created", version="1.0", kind="x")
        store.add_event(study.id, "duplicate", of=3)
        store.add_event(study.id, "duplicate", of=4)
        assert [event.kind for event in store.events(study.id)] == ["created", "duplicate", "duplicate"]
        assert [event.detail for event in store.events(study.id, "duplicate")] == [{"of": 3}, {"of": 4}]
        assert store.events(study.id)[0].detail == {"version": "1.0", "kind": "x"}


class TestOwnership:
    def test_an_owner_is_this_process_until_it_lets_go(self, store, make_study):
        study = make_study(store)
        assert store.lease(study.id) is None
        lease = store.acquire(study.id)
        assert (lease.pid, lease.token, lease.alive) == (os.getpid(), 1, True)
        assert store.lease(study.id) == lease
        store.release(study.id)
        assert store.lease(study.id) is None
        store.release(study.id)  # nothing left to do

    def test_asking_again_changes_nothing(self, store, make_study):
        study = make_study(store)
        assert store.acquire(study.id) == store.acquire(study.id)

    def test_a_token_is_never_used_twice(self, store, make_study):
        study = make_study(store)
        tokens = []
        for _ in range(3):
            tokens.append(store.acquire(study.id).token)
            store.release(study.id)
        assert tokens == [1, 2, 3]

    def test_a_second_store_is_refused_and_may_not_write(self, address, store, make_study, params):
        study = make_study(store)
        store.acquire(study.id)
        with Store.open(address, mode="write") as other:
            with pytest.raises(StudyBusy, match=f"process {os.getpid()} on this machine"):
                other.acquire(study.id)
            with pytest.raises(StudyBusy, match="this very process"):
                other.acquire(study.id, take_over=True)
            with pytest.raises(StaleOwner, match="nothing was written"):
                other.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
            with pytest.raises(StaleOwner):
                other.project(study.id, {}, {})
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")

    def test_whether_a_study_is_free_can_be_asked_by_name(self, address, store, make_study):
        study = make_study(store)
        for name in (study.name, "not there"):
            store.check_free(name)
        store.acquire(study.id)
        with Store.open(address, mode="create") as other:
            with pytest.raises(StudyBusy, match=f"{study.name!r}: process {os.getpid()} on this machine"):
                other.check_free(study.name)
            store.release(study.id)
            other.check_free(study.name)

    def test_closing_lets_go(self, address, make_study):
        with Store.open(address, mode="create") as store:
            study = make_study(store)
            store.acquire(study.id)
        with Store.open(address, mode="write") as other:
            assert other.lease(study.id) is None
            assert other.acquire(study.id).token == 2

    def test_a_displaced_owner_can_write_nothing_more(self, address, store, make_study, params, round_update):
        study = make_study(store)
        store.acquire(study.id)
        store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
        store.project(study.id, {}, {})
        store.record_round(study.id, [], [ending(0)])
        with store._connections.engine.connect() as connection:  # as if another had taken it over
            connection.exec_driver_sql("UPDATE tune_leases SET token = token + 1, host = 'elsewhere'")
            connection.commit()
        before = store.trials(study.id)
        for write in (
            lambda: store.add_trial(study.id, number=1, params=params, seed=0, source="tpe"),
            lambda: store.add_event(study.id, "x"),
            lambda: store.set_trials(study.id, 5),
            lambda: make_study(store, "second"),
            lambda: store.project(study.id, {}, {}),
            lambda: store._copy._projection.write(study, before, store.curve(study.id), {}, {}),
        ):
            with pytest.raises(StaleOwner, match="took it over"):
                write()
        assert store.trials(study.id) == before
        assert [study.name for study in store.studies()] == ["first"]
        with store.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM trials").scalar() == 0
        with pytest.raises(StudyBusy, match="'elsewhere'"):
            store.acquire(study.id)
        with pytest.raises(StaleOwner):
            store.add_event(study.id, "x")
        assert store.acquire(study.id, take_over=True).token == 3
        store.add_event(study.id, "x")


class TestModes:
    def test_a_reader_sees_what_was_written_and_can_write_nothing(self, address, store, make_study, params):
        study = make_study(store)
        with Store.open(address, mode="read") as reader:
            assert reader.trials(study.id) == ()
            store.add_trial(study.id, number=0, params=params, seed=0, source="tpe")
            assert len(reader.trials(study.id)) == 1
            for write in (
                lambda: reader.add_event(study.id, "x"),
                lambda: reader.project(study.id, {}, {}),
                lambda: reader.acquire(study.id),
                lambda: make_study(reader, "second"),
            ):
                with pytest.raises(StorageError, match="read"):
                    write()
        assert len(store.studies()) == 1

    def test_opening_twice_keeps_what_is_there(self, address, store, make_study):
        study = make_study(store)
        with Store.open(address, mode="create") as again:
            assert again.study(None) == study

    def test_other_threads_may_read_while_one_writes(self, store, make_study, params):
        study = make_study(store)
        failures = []

        def read():
            try:
                for _ in range(20):
                    store.trials(study.id)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
        for thread in threads:
            thread.join()
        assert failures == []


class TestFolder:
    def test_disk_use_counts_the_files_of_a_study(self, store, make_study):
        study = make_study(store)
        assert store.disk_bytes(study.id) == 0
        folder = store.study_dir(study.id) / "checkpoints"
        folder.mkdir()
        (folder / "a").write_bytes(b"12345")
        assert store.disk_bytes(study.id) == 5
        assert store.disk_bytes(99) == 0

    def test_how_far_it_is_said_to_be_is_what_its_rows_say(self, address, make_study, params, round_update):
        with Store.open(address, mode="create") as store:
            study = make_study(store)
            folder = store.study_dir(study.id)
            for _ in range(2):  # also after it was given up and taken up again
                store.acquire(study.id)
                for _ in range(2):
                    number = len(store.trials(study.id))
                    store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
                    store.record_round(study.id, [round_update(number, 1)], [])
                    with pytest.raises(StorageError):  # nothing of it is counted
                        store.record_round(study.id, [round_update(number, 2)], [ending(99)])
                    store.record_round(study.id, [round_update(number, 2)], [ending(number)])
                    with store.reading() as connection:
                        rows = queries.progress(connection, study.id)
                    assert progress_note.read(folder) == rows
                    assert (rows.trials, rows.ended) == (number + 1, number + 1)
                store.release(study.id)

    def test_only_the_best_adapters_and_living_checkpoints_stay(
        self, store, make_study, params, round_update
    ):
        study = make_study(store)
        folder = store.study_dir(study.id)
        for part in ("checkpoints", "adapters"):
            (folder / part).mkdir()
        for number in range(4):
            store.add_trial(study.id, number=number, params=params, seed=0, source="tpe")
            (folder / f"checkpoints/trial-{number:05d}-q1-a0.safetensors").touch()
            (folder / f"adapters/trial-{number:05d}.safetensors").touch()
        files = [f"checkpoints/trial-{n:05d}-q1-a0.safetensors" for n in range(4)]
        store.record_round(study.id, [round_update(n, 1, checkpoint=files[n]) for n in range(4)])
        (folder / "checkpoints/trial-00003-q2-a0.safetensors").touch()  # a worker's, not yet recorded
        (folder / "checkpoints/notes.txt").touch()
        cache = store.artifacts / "cache"
        cache.mkdir()
        live = cache / ".model-digests.json.0badcafe.tmp"
        killed = [
            cache / ".tokens-00ff.safetensors.0badcafe.tmp",
            folder / ".progress.json.0badcafe.tmp",
            folder / ".progress.json.12345678.tmp",
        ]
        for file in (live, *killed):
            file.touch()
        os.utime(killed[0], (0, 0))
        store.record_round(
            study.id,
            [],
            [ending(n, value=3.0 - n, adapter=f"adapters/trial-{n:05d}.safetensors") for n in range(3)],
        )
        store.keep_adapters(study.id, 2)
        assert [trial.adapter is not None for trial in store.trials(study.id)] == [False, True, True, False]
        left = sorted(str(file.relative_to(folder)) for file in folder.glob("*/*"))
        assert left == [
            "adapters/trial-00001.safetensors",
            "adapters/trial-00002.safetensors",
            "adapters/trial-00003.safetensors",
            "checkpoints/notes.txt",
            "checkpoints/trial-00003-q1-a0.safetensors",
            "checkpoints/trial-00003-q2-a0.safetensors",
        ]
        assert live.exists()  # another search may be writing it
        assert [file for file in killed if file.exists()] == []
        assert (folder / "progress.json").is_file()


@pytest.mark.parametrize(
    ("read", "never"),
    [
        ("[store.trials(study.id) for study in store.studies()]", ("optuna", "torch", "safetensors")),
        ("store.trials(store.study(None).id)", ("torch", "safetensors")),  # with a space comes Optuna
    ],
)
def test_what_is_listed_or_read_imports_no_more_than_it_needs(path, make_study, read, never):
    import subprocess

    with Store.open(str(path), mode="create") as store:
        make_study(store)
    code = (
        "import sys; from loratune.storage.store import Store\n"
        f"with Store.open({str(path)!r}, mode='read') as store: {read}\n"
        f"print([name for name in {never!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(path).parent
    )
    assert done.stdout.strip() == "[]"
