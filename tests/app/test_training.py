"""The chosen configuration at full length: what is trained, how long, as which study, what is refused."""

import dataclasses
import shutil

import pytest
from fake_processes import Worker, studies, study, trials
from loratune import app
from loratune.app import training, workers
from loratune.app.exporting import handover
from loratune.errors import BudgetError, LoratuneError, ReportError, StorageError, UsageError
from loratune.objectives.testing.surface import Surface
from loratune.reports.load import load_view
from loratune.reports.verdict import verdict
from loratune.storage.store import Store
from loratune.study.events import Notice
from loratune.study.full_run import EPOCHS
from loratune.study.ranking import ranked
from loratune.study.stopping import Stopping

SEARCH = {"trials": 6, "study": "a", "examples": 128, "set": {"batch_size": [4, 8]}, "storage": "a.db"}
ONE = app.RunOptions(workers=1)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "ProcessWorker", Worker)
    app.start(app.SearchOptions(**SEARCH), ONE)


def train(study=None, **options):
    return app.train(study, ONE, storage="a.db", **options)


def refused(kind=LoratuneError, **options):
    """Train, and return the complaint; nothing may have begun."""
    before = studies()
    with pytest.raises(kind) as caught:
        train(**options)
    assert studies() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_best_trial_is_trained_for_three_epochs_on_all_the_validation_examples():
    done = train("a")
    (trained,) = trials("a.train")
    best = ranked(trials("a"))[0]
    assert (done.study, done.ended.why) == ("a.train", "complete")
    assert (trained.params, trained.seed) == (best.params, best.seed)
    budget, data = study("a.train").facts.budget, study("a.train").facts.data
    assert budget.final_eval_examples == data.validation
    assert 0 <= budget.examples - EPOCHS * data.train < 8 * 8
    assert budget.rungs == (1, 2, 3, 4, 5, 6, 7, 8)


def test_the_default_is_trained_beside_it_where_that_is_asked_for():
    train("a", beside="default", epochs=1)
    entries = study("a.train").config.stage.entries
    best = ranked(trials("a"))[0].number
    assert [entry.trial for entry in entries] == ([0] if best == 0 else [best, 0])


def rename_default(monkeypatch, number):
    """Let another trial of the search than trial 0 have the default configuration; None: none has it."""
    listed = list(trials("a"))
    other = next(t.params for t in reversed(listed) if t.params != listed[0].params)
    default = study("a").config.first[0]
    changed = [
        dataclasses.replace(t, params=default if t.number == number else t.params if t.number else other)
        for t in listed
    ]
    monkeypatch.setattr(Store, "trials", lambda *_: tuple(changed))


def test_the_default_is_known_by_its_parameters_and_not_by_its_number(monkeypatch):
    entries = []
    monkeypatch.setattr(training, "follow", lambda _store, _parent, stage, **_: entries.extend(stage.entries))
    number = ranked(trials("a"))[-1].number or ranked(trials("a"))[-2].number
    best = ranked(trials("a"))[0].number
    rename_default(monkeypatch, number)
    train("a", beside="default", epochs=1)
    assert [entry.trial for entry in entries] == [best, number]
    assert entries[1].params == study("a").config.first[0]


def test_a_study_without_the_default_has_nothing_to_train_beside(monkeypatch):
    rename_default(monkeypatch, None)
    assert "has no trial of the default configuration" in refused(ReportError, study="a", beside="default")


@pytest.mark.parametrize(("examples", "said"), [(4 * 128, []), (16 * 128, ["this is 16 times as long"])])
def test_much_longer_than_it_was_searched_at_is_said(examples, said):
    heard = []

    class Observer:
        def on_event(self, event):
            if isinstance(event, Notice) and event.about == "length":
                heard.append(event.text)

    train("a", examples=examples, observers=[Observer()])
    assert [text[: len(said[0])] for text in heard] == said
    assert all("\n" not in text and "the 128 examples" in text for text in heard)


def test_a_trial_a_length_and_a_seed_may_be_named():
    number = ranked(trials("a"))[1].number
    train("a", trial=number, examples=512, seed=3, patience=2, keep="last")
    (trained,) = trials("a.train")
    assert (trained.params, trained.seed) == (trials("a")[number].params, 3)
    assert study("a.train").facts.budget.examples == 512
    assert study("a.train").config.objective.stopping == Stopping(keep="last", patience=2)


def test_asked_for_again_it_goes_on_and_trains_nothing_twice():
    first = train(examples=512)
    again = train(examples=512)
    assert (first.study, again.study) == ("a.train", "a.train")
    assert again.ended.rounds == 0
    assert studies() == ["a", "a.train"]


def test_another_length_is_another_study():
    train("a", examples=512)
    assert train("a", examples=1024).study == "a.train-2"


def test_the_search_knows_what_was_trained_of_it_and_its_export_has_that_length():
    with Store.open("a.db", mode="read") as store:
        assert load_view(store, "a").full_runs == ()
    train("a", epochs=2.0)
    with Store.open("a.db", mode="read") as store:
        view, own = load_view(store, "a"), load_view(store, "a.train")
    best = view.best()
    (run,) = view.full_runs
    assert (run.study, run.trial, run.loss) == ("a.train", best.number, own.trials[0].value)
    assert run.words in verdict(view).sentences
    assert handover(own).epochs == pytest.approx(2.0, rel=0.05)
    assert handover(own, epochs=4.0).epochs == 4.0
    assert handover(view).epochs == 3.0


def test_what_was_trained_names_the_search_that_it_follows_from():
    train("a", examples=512)
    assert train("a.train", examples=512).study == "a.train"


def test_a_study_without_a_complete_trial_is_refused():
    with Store.open("a.db", mode="write") as store:
        config, facts = study("a").config, study("a").facts
        store.create_study(name="b", trials=3, config=config, facts=facts)
    assert "no complete trial yet; go on with: tune resume b" in refused(ReportError, study="b")


def test_a_trial_that_came_to_nothing_or_is_not_there_is_refused(monkeypatch):
    broken = dataclasses.replace(trials("a")[2], state="diverged", value=None, reason="the loss became NaN")
    listed = (*trials("a")[:2], broken, *trials("a")[3:])
    assert "has no trial 9; its trials are 0 to 5" in refused(ReportError, study="a", trial=9)
    monkeypatch.setattr(Store, "trials", lambda *_: listed)
    words = refused(ReportError, study="a", trial=2)
    assert "trial 2 of study 'a' is diverged (the loss became NaN)" in words


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs: 0 is not above 0"),
        ({"epochs": -1.5}, "epochs: -1.5"),
        ({"epochs": float("nan")}, "epochs: nan"),
        ({"examples": 0}, "examples: 0 is not at least 1"),
        ({"patience": 0}, "patience: 0 is less than 1"),
        ({"keep": "all"}, "keep: 'all'"),
        ({"seed": -1}, "seed: -1"),
        ({"beside": "base"}, "beside: 'base'"),
        ({"epochs": 1, "examples": 512}, "give one of them"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_before_anything_begins(options, words):
    assert words in refused(UsageError, study="a", **options)


def test_too_few_examples_for_eight_rounds_are_refused():
    assert "8 rounds" in refused(BudgetError, study="a", examples=8)


def test_a_disk_without_room_is_named_before_anything_begins(monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(type(study("a").facts.model), "trainable", lambda *_: 1_000_000)
    words = refused(StorageError, study="a")
    assert "0 MiB are free and the states of 1 trial take up to 46" in words


def test_more_trials_than_it_has_are_not_asked_of_it():
    train("a", examples=512)
    with pytest.raises(UsageError, match="are listed, since it follows from a; leave --trials out"):
        app.resume("a.train", ONE, trials=4, storage="a.db")


def test_what_a_confirmation_recommends_is_taken_before_the_best(monkeypatch):
    second = ranked(trials("a"))[1].number
    monkeypatch.setattr("loratune.app.training.recommended", lambda *_: (second, None))
    train("a", examples=512)
    (entry,) = study("a.train").config.stage.entries
    assert entry.trial == second
    best = ranked(trials("a"))[0].number
    train("a", trial=best, examples=512)
    (entry,) = study("a.train-2").config.stage.entries
    assert entry.trial == best


def test_the_losses_of_a_trial_that_ended_early_are_those_that_its_reports_compare(monkeypatch):
    noisy = Surface(noise=1.0)
    monkeypatch.setattr(Worker, "surface", noisy)
    train("a", examples=512, patience=1, beside="default")
    early = [trial for trial in trials("a.train") if trial.rounds < 8]
    assert early
    with Store.open("a.db", mode="read") as store:
        view = load_view(store, "a.train")
    for trial in early:
        assert view.evaluations[trial.number].loss == trial.value
        assert len(view.evaluations[trial.number].losses) == view.data.validation
    assert verdict(view).base.interval is not None
