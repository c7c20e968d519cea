"""A study's configuration and facts, and what is compared when one goes on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from loratune.errors import (
    BudgetError,
    DataError,
    ModelError,
    SpaceError,
    StorageError,
    StudyExists,
    UsageError,
)
from loratune.objectives.testing.fake import FakeWorker
from loratune.search.study_record import compare_facts, create, objective_of
from loratune.spaces.choices import Choices
from loratune.storage.store import Store
from loratune.study.config import DataFile, ObjectiveConfig
from loratune.study.facts import Facts
from loratune.study.study_config import StudyConfig


@pytest.fixture
def config(bench) -> StudyConfig:
    return bench.config(seed=3, sampler="random", keep_adapters=2)


def make(bench, config: StudyConfig, trials: int = 8, **facts: Any) -> Any:
    found = dataclasses.replace(bench.facts(config), **facts)
    with Store.open(str(bench.path), mode="create") as store:
        return create(store, name="a", config=config, facts=found, trials=trials)


def test_configuration_and_facts_come_back_as_they_were(bench, config: StudyConfig) -> None:
    study = make(bench, config)
    with bench.store as store:
        read = store.study("a")
    assert read.config == config
    assert read.facts == bench.facts(config)
    assert (study.trials, study.seed) == (8, 3)
    assert [event["trials"] for event in bench.events("created")] == [8]


def test_a_study_stored_before_rules_were_counted_keeps_the_first(bench, config: StudyConfig) -> None:
    stored = config.to_json()
    for name in ("rules", "columns"):
        del stored["objective"]["data"][name]
    read = StudyConfig.from_json(stored)
    assert (read.objective.data.rules, read.objective.data.columns) == (1, None)
    # The same choices today: whether the tokens are others is for the fingerprint to say.
    assert config.objective.data.rules > 1
    assert read.differences(config) == ()


def test_a_study_of_before_goes_on_in_the_order_that_it_began_with(bench, config: StudyConfig) -> None:
    stored, facts = config.to_json(), bench.facts(config).to_json()
    assert facts["budget"].pop("even_lengths") is stored["objective"].pop("even_lengths") is True
    read = StudyConfig.from_json(stored)
    assert read.objective.even_lengths is False
    assert Facts.from_json(facts).budget == bench.facts(read).budget
    # The same choices today: the order was never the user's.
    assert read.differences(config) == config.differences(read) == ()


def test_columns_are_of_a_study_s_identity(bench, config: StudyConfig) -> None:
    data = dataclasses.replace(config.objective.data, columns=("prompt=a", "completion=b"))
    other = dataclasses.replace(config, objective=dataclasses.replace(config.objective, data=data))
    assert other.differences(config) == (
        "data.columns is ['prompt=a', 'completion=b'] there and not set here",
    )
    assert config.differences(other) == (
        "data.columns is not set there and ['prompt=a', 'completion=b'] here",
    )
    assert StudyConfig.from_json(json.loads(json.dumps(other.to_json()))) == other


def test_one_file_is_stored_as_it_always_was_and_several_in_their_order(bench, config: StudyConfig) -> None:
    assert "more" not in config.to_json()["objective"]["data"]
    assert "formats" not in bench.facts(config).to_json()["data"]

    def of(*more: DataFile) -> StudyConfig:
        data = dataclasses.replace(config.objective.data, train="/a", more=more)
        return dataclasses.replace(config, objective=dataclasses.replace(config.objective, data=data))

    b, c = DataFile(path="/b"), DataFile(path="/c", columns=("text=t",))
    assert StudyConfig.from_json(json.loads(json.dumps(of(b, c).to_json()))) == of(b, c)
    assert of(b, c).differences(of(b, c)) == ()
    assert of(b, c).differences(of(c, b)) == (
        "data.train is '/a' and '/b' and '/c' of columns ['text=t'], not '/a' and '/c' of columns ['text=t'] "
        "and '/b'",
    )
    assert of().differences(of(b)) == ("data.train is '/a', not '/a' and '/b'",)


def test_the_stored_configuration_holds_nothing_of_the_machine(bench, config: StudyConfig) -> None:
    local = dataclasses.replace(config.objective, slots=7, cache_dir="/somewhere")
    stored = json.dumps(dataclasses.replace(config, objective=local).to_json())
    assert "somewhere" not in stored
    assert "slots" not in stored


def test_a_worker_of_a_study_is_given_its_geometry(bench, config: StudyConfig, tmp_path: Path) -> None:
    study = make(bench, config)
    objective = objective_of(study, cache_dir=tmp_path, slots=3)
    assert objective.geometry == bench.facts(config).geometry
    assert (objective.slots, objective.cache_dir) == (3, str(tmp_path))
    assert objective.pass_tokens == bench.facts(config).pass_tokens
    found = {"geometry": None, "slots": None, "cache_dir": None, "pass_tokens": None}
    assert dataclasses.replace(objective, **found, dropout=True) == config.objective


def test_the_same_name_and_configuration_is_the_same_study(bench, config: StudyConfig) -> None:
    first = make(bench, config)
    assert make(bench, config, trials=4) == first
    longer = make(bench, config, trials=12)
    assert (longer.id, longer.trials) == (first.id, 12)
    with bench.store as store:
        # Only the owner of a study may write; a live one's total must not change under it.
        assert [study.trials for study in store.studies()] == [8]


def test_a_name_that_another_program_took_in_optunas_tables_is_refused(bench, config: StudyConfig) -> None:
    make(bench, config)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    database = optuna.storages.RDBStorage(f"sqlite:///{bench.path}")
    optuna.create_study(study_name="theirs", storage=database)
    database.engine.dispose()
    with (
        Store.open(str(bench.path), mode="write") as store,
        pytest.raises(StudyExists, match="choose another name"),
    ):
        create(store, name="theirs", config=config, facts=bench.facts(config), trials=4)


def test_a_hub_model_stays_at_the_commit_that_the_study_was_made_with(bench, config: StudyConfig) -> None:
    found = bench.facts(config)
    pinned = dataclasses.replace(found.model, revision="abc123")
    study = make(bench, config, model=pinned)
    assert objective_of(study).model.revision == "abc123"
    moved = dataclasses.replace(found, model=dataclasses.replace(found.model, revision="def456"))
    with pytest.raises(ModelError, match="commit abc123 when the study was made and is def456 now"):
        compare_facts(dataclasses.replace(found, model=pinned), moved)


def test_the_same_name_with_another_configuration_says_what_differs(bench, config: StudyConfig) -> None:
    make(bench, config)
    other = dataclasses.replace(
        config,
        seed=4,
        space=config.space.replace(Choices(name="warmup_ratio", choices=(0.1,))),
        objective=dataclasses.replace(
            config.objective, model=dataclasses.replace(config.objective.model, name_or_path="elsewhere")
        ),
    )
    with pytest.raises(StudyExists) as caught:
        make(bench, other)
    message = str(caught.value)
    assert "\n" not in message
    for clause in (
        "seed is 3, not 4",
        "space.warmup_ratio is 0 to 0.1, not 0.1 (fixed)",
        "model.name_or_path is 'model', not 'elsewhere'",
    ):
        assert clause in message
    assert "sampler" not in message


def test_the_same_name_with_changed_data_says_so(bench, config: StudyConfig) -> None:
    make(bench, config)
    data = dataclasses.replace(bench.facts(config).data, fingerprint="other")
    with pytest.raises(StudyExists, match="the contents of its data have changed"):
        make(bench, config, data=data)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"keep_adapters": 0}, "keep_adapters: 0 is less than 1"),
        ({"seed": -1}, "seed: -1 is negative"),
    ],
)
def test_a_bad_choice_is_refused(bench, choice: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench.config(**choice)


def test_a_first_trial_outside_the_space_is_refused(bench, config: StudyConfig) -> None:
    outside = dataclasses.replace(config.first[0], batch_size=128)
    with pytest.raises(SpaceError, match="batch_size: 128"):
        bench.config(first=(config.first[0], outside))


def test_a_configuration_of_another_version_is_refused_in_one_line(config: StudyConfig) -> None:
    stored = config.to_json()
    stored["objective"].pop("model")
    with pytest.raises(StorageError, match="cannot be read") as caught:
        StudyConfig.from_json(stored)
    assert "\n" not in str(caught.value)


def changed(facts: Any, part: str, **values: Any) -> Any:
    return dataclasses.replace(facts, **{part: dataclasses.replace(getattr(facts, part), **values)})


def test_what_cannot_be_compared_is_refused(bench, config: StudyConfig) -> None:
    facts = bench.facts(config)
    assert compare_facts(facts, facts) == ()
    with pytest.raises(DataError, match="have changed since the study was made"):
        compare_facts(facts, changed(facts, "data", fingerprint="other"))
    with pytest.raises(BudgetError, match="a trial's budget was"):
        compare_facts(facts, changed(facts, "budget", round_examples=2 * facts.budget.round_examples))
    with pytest.raises(ModelError, match="shapes of the study"):
        compare_facts(facts, changed(facts, "geometry", rank_max=64))
    with pytest.raises(ModelError, match="base model's loss was"):
        compare_facts(facts, dataclasses.replace(facts, base_loss=1.1 * facts.base_loss))


def test_another_device_or_build_is_told(bench, config: StudyConfig) -> None:
    facts = bench.facts(config)
    other = changed(facts, "model", device_name="a fast one")
    assert compare_facts(facts, other) == ("device was no device, now a fast one",)
    assert compare_facts(facts, dataclasses.replace(facts, base_loss=facts.base_loss * 1.0001)) == ()


def test_a_base_model_of_which_one_file_was_changed_is_refused_by_name(bench, config: StudyConfig) -> None:
    facts = bench.facts(config)
    made = changed(facts, "model", files={"config.json": "a", "model.safetensors": "b"})
    assert compare_facts(made, made) == ()
    for files, words in (
        ({"config.json": "a", "model.safetensors": "c"}, "model.safetensors is not the file"),
        ({"config.json": "a"}, "model.safetensors was there when the study was made"),
        ({**made.model.files, "added_tokens.json": "d"}, "added_tokens.json was not there"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            compare_facts(made, changed(facts, "model", files=files))
        assert str(caught.value).startswith(f"{facts.model.name_or_path}: ")
    # A study of before digests were taken goes on as it did.
    assert compare_facts(facts, made) == ()


def test_a_study_without_digests_of_its_model_is_given_them_when_it_goes_on(
    bench, config: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(bench, config, trials=3)
    assert bench.store.study("a").facts.model.files == {}
    real = FakeWorker.prepare

    def prepare(self: FakeWorker, objective: ObjectiveConfig) -> Facts:
        return changed(real(self, objective), "model", files={"config.json": "a"})

    monkeypatch.setattr(FakeWorker, "prepare", prepare)
    assert bench.run().why == "complete"
    assert bench.store.study("a").facts.model.files == {"config.json": "a"}
    stored = bench.store.study("a").facts.to_json()
    del stored["model"]["files"]  # as older code wrote it
    assert Facts.from_json(stored).model.files == {}
