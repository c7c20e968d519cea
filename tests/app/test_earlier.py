"""An earlier study teaches a new one only where the user says so, and what it taught is kept."""

import dataclasses
from pathlib import Path

import pytest
from fake_processes import Worker
from loratune import app
from loratune.app import earlier, searching, workers
from loratune.app.options import RunOptions, SearchOptions
from loratune.app.pace import measured_pace
from loratune.errors import StorageError, StudyExists, UsageError
from loratune.storage.store import Store
from loratune.study.ranking import ranked
from made_up_studies import make_facts


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with workers that train nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.setattr(workers, "ProcessWorker", Worker)


def start(study, trials=6, **more):
    """Run a study; return its configuration, its trials and what was said of earlier ones."""
    said = []

    def watch(begun):
        said.append(begun.plan.earlier)
        return searching.nobody(begun)

    options = SearchOptions(study=study, trials=trials, **more)
    searching.start(options, RunOptions(deterministic=True), watch=watch)
    with Store.open("tune.db", mode="read") as store:
        record = store.study(study)
        return record.config, store.trials(record.id), said[0]


def test_without_a_word_a_study_is_offered_and_nothing_is_taken():
    config, _, said = start("one", trials=12)
    assert (said, len(config.first)) == (None, 1)
    config, second, said = start("two", seed=1)
    assert said == (
        "study one has the same model and data; to try its best 3 trials first, add --learn-from one"
    )
    assert (config.learned_from, len(config.first)) == (None, 1)
    assert [trial.source for trial in second][:2] == ["default", "startup"]


@pytest.mark.parametrize("given", ["one", "auto"])
def test_the_best_three_come_after_trial_0_and_what_the_user_enqueued(given):
    _, first, _ = start("one", trials=12)
    best = [trial.params for trial in ranked(first)]
    mine = {"learning_rate": 0.007, "lora_rank": 2}
    config, second, said = start("two", trials=8, seed=1, enqueue=[mine], learn_from=given)
    assert config.learned_from == "one"
    assert [trial.source for trial in second][:6] == ["default", *["enqueued"] * 4, "startup"]
    assert second[1].params.learning_rate == 0.007
    # Trial 0 is among the best here, and is not tried twice.
    expected = [params for params in best if params != second[0].params][:3]
    assert [trial.params for trial in second][2:5] == expected
    assert said == (
        "the best 3 trials of study one (the same model and data), moved into this space, come after trial 0"
    )


def test_what_is_taken_over_is_moved_to_the_nearest_point_of_the_space():
    _, first, _ = start("one", trials=12)
    fixed = {"lora_rank": "4", "learning_rate": "1e-3..2e-3:log"}
    config, second, _ = start("two", trials=6, set=fixed, learn_from="one")
    assert {trial.params.lora_rank for trial in second} == {4}
    moved = [config.space.closest(trial.params) for trial in ranked(first)]
    assert len(config.first) == 4
    assert [params for params in moved if params in config.first[1:]][:1] == [config.first[1]]
    assert all(1e-3 <= params.learning_rate <= 2e-3 for params in config.first)


@pytest.mark.parametrize("given", ["one", "auto"])
def test_the_same_command_goes_on_with_the_study_that_it_made(given):
    start("one", trials=12)
    config, before, _ = start("two", trials=4, seed=1, learn_from=given)
    # The earlier study has gone on meanwhile, and has other best trials.
    start("one", trials=18)
    again, after, said = start("two", trials=6, seed=1, learn_from=given)
    assert again == config
    assert said is None
    assert [trial.params for trial in after][:4] == [trial.params for trial in before]
    with pytest.raises(StudyExists, match="learned_from"):
        start("two", trials=6, seed=1)


def test_where_no_study_is_like_it_auto_says_so_and_goes_on():
    config, trials, said = start("one", learn_from="auto")
    assert said.startswith(
        "no earlier study of this model or one like it has a trial that did better than trial 0"
    )
    assert (config.learned_from, len(trials)) == (None, 6)


def test_a_study_whose_best_is_trial_0_teaches_nothing_and_is_passed_over():
    start("one", trials=12)
    # The later one is as like, but its only trial is the default.
    start("two", trials=1, seed=1)
    config, _, said = start("three", seed=2, learn_from="auto")
    assert config.learned_from == "one"
    assert said.startswith("the best 3 trials of study one")


def test_what_found_nothing_to_learn_goes_on_without_once_there_is_something():
    start("one", trials=1)
    config, before, _ = start("two", trials=4, seed=1, learn_from="auto")
    assert config.learned_from is None
    start("one", trials=12)
    again, after, _ = start("two", trials=6, seed=1, learn_from="auto")
    assert again == config
    assert [trial.params for trial in after][:4] == [trial.params for trial in before]


def test_a_named_study_that_holds_nothing_new_is_said_to_teach_nothing():
    start("one", trials=1)
    config, _, said = start("two", trials=2, seed=1, learn_from="one")
    assert said == ("study one (the same model and data) has nothing to teach: what it holds is tried anyway")
    assert config.learned_from is None


def test_a_study_to_learn_from_that_is_not_there_is_refused_before_a_model_is_loaded(monkeypatch):
    def never(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(workers, "ProcessWorker", never)
    with pytest.raises(UsageError, match=r"--learn-from one: there is no study in .*tune\.db"):
        start("two", learn_from="one")
    monkeypatch.setattr(workers, "ProcessWorker", Worker)
    start("one", trials=1)
    monkeypatch.setattr(workers, "ProcessWorker", never)
    with pytest.raises(StorageError, match="other"):
        start("two", learn_from="other")


def test_a_study_without_a_complete_trial_has_nothing_to_teach(monkeypatch):
    start("one", trials=4)
    monkeypatch.setattr(earlier, "ranked", lambda trials: ())
    with pytest.raises(UsageError, match="--learn-from one: it has no complete trial to learn from"):
        start("two", learn_from="one")


def test_a_plan_says_what_would_be_taken_over_and_writes_nothing():
    start("one", trials=12)
    before = Path("tune.db").read_bytes()
    plan = app.plan(SearchOptions(seed=1, learn_from="auto"))
    assert len(plan.config.first) > 1
    assert plan.values()["earlier"].startswith("the best 3 trials of study one")
    assert Path("tune.db").read_bytes() == before


def facts(*, files=None, fingerprint="a", **model):
    made = make_facts(data={"fingerprint": fingerprint})
    return dataclasses.replace(made, model=dataclasses.replace(made.model, files=files or {}, **model))


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (facts(files={"x": "1"}), (0, "the same model and data")),
        (facts(files={"x": "1"}, name_or_path="a copy"), (0, "the same model and data")),
        (facts(files={"x": "1"}, fingerprint="b"), (1, "the same model")),
        (facts(files={"x": "2"}), (2, "a model like it and the same data")),
        (facts(files={"x": "2"}, fingerprint="b", parameters=2_400_000), (3, "a model like it")),
        (facts(files={"x": "2"}, parameters=600_000), (2, "a model like it and the same data")),
        (facts(files={"x": "2"}, parameters=2_400_001), None),
        (facts(files={"x": "2"}, parameters=599_999), None),
        (facts(files={"x": "2"}, architecture="GPT2LMHeadModel"), None),
    ],
)
def test_a_model_is_the_same_by_its_files_and_like_by_architecture_and_size(other, expected):
    assert earlier.likeness(facts(files={"x": "1"}), other) == expected


def test_without_digests_a_model_is_the_same_by_its_name_and_commit():
    one, other = (facts(name_or_path="org/model", revision=commit).model for commit in ("abc", "def"))
    assert earlier.same_model(one, one)
    assert not earlier.same_model(one, other)


def test_a_plan_goes_by_the_pace_of_a_search_that_was_run_and_says_so():
    estimated = app.plan(SearchOptions(seed=1)).values()
    assert estimated["hours_as_in"] is None
    start("one", trials=12)
    with Store.open("tune.db", mode="read") as store:
        study = store.study("one")
        seconds = sum(event.detail["seconds"] for event in store.events(study.id) if event.kind == "finished")
        examples = sum(trial.rounds for trial in store.trials(study.id)) * study.facts.budget.round_examples
    values = app.plan(SearchOptions(seed=1, trials=10)).values()
    assert values["hours_as_in"] == "one"
    assert values["examples_per_second"] == pytest.approx(examples / seconds)
    seen = 10 * 0.65 * values["examples"]
    assert values["hours"] == pytest.approx(seen / (examples / seconds) / 3600)
    # Other data went at another pace.
    known = facts(fingerprint="other")
    with Store.open("tune.db", mode="read") as store:
        assert measured_pace(store, known, "loss") is None
        # So does one that writes answers, or tries labels, beside.
        own = store.study("one").facts
        assert measured_pace(store, own, "token_accuracy") is not None
        assert measured_pace(store, own, "accuracy") is None


def test_a_search_whose_run_was_killed_tells_no_pace_nor_one_whose_base_was_held_otherwise():
    start("one", trials=12)
    with Store.open("tune.db", mode="write") as store:
        study = store.study("one")
        known = measured_pace(store, study.facts, "loss")
        assert known is not None
        assert known.study == "one"
        model = dataclasses.replace(study.facts.model, bits=4)
        assert measured_pace(store, dataclasses.replace(study.facts, model=model), "loss") is None
        # It was killed, and went on: the seconds of the first run are in no event.
        store.add_event(study.id, "resumed", running=[])
        assert measured_pace(store, study.facts, "loss") is None
