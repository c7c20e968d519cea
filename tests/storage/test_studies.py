"""What every database must do for studies: made, found by name, and read as they were made."""

import dataclasses
import datetime
import json
import stat

import pytest
import sqlalchemy
from loratune.errors import StorageError, StudyExists, StudyNotFound
from loratune.storage.check import findings
from loratune.study.stage import Entry, Stage
from made_up_studies import make_config, make_facts


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

    def test_one_that_follows_from_a_study_that_was_deleted_meanwhile_is_refused(
        self, store, make_study, params
    ):
        stage = Stage(kind="confirm", parent="first", entries=(Entry(params=params, seed=0, trial=0),))
        made = {"name": "first.confirm", "trials": 1, "config": make_config(stage=stage)}
        make_study(store)
        store.deletions.delete(["first"])
        with pytest.raises(StudyNotFound, match=r"'first\.confirm': 'first', .* is not in .* any more"):
            store.create_study(**made, facts=make_facts())
        assert store.studies() == ()
        assert not store.study_dir(2).exists()
        make_study(store)
        store.create_study(**made, facts=make_facts())
        assert [study.name for study in store.studies()] == ["first", "first.confirm"]

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
