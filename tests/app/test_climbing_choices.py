"""What a search that climbs begins with, who stops its trials, and who goes up at which rate."""

from __future__ import annotations

import dataclasses
import re

import pytest
from climbs import ONE, Heard, in_a_folder, search, trained
from loratune import app
from loratune.app import preparing, request
from loratune.app.climbing import going_up
from loratune.app.looking import look_first
from loratune.errors import StudyBusy, UsageError
from loratune.reports.load import load_view, slowed
from loratune.reports.verdict import verdict
from loratune.search.interrupt import StopSignal
from loratune.storage.store import Store
from loratune.study.pruners import PRUNERS, Halving, Median, Promote
from loratune.study.records import Ending
from loratune.study.stage import Entry, Stage
from made_up_studies import make_config, make_facts, make_study


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    in_a_folder(tmp_path, monkeypatch)


def test_it_begins_with_the_default_and_the_default_at_half_its_rate():
    app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        default, lower = store.trials(store.study("demo").id)[:2]
    assert (default.source, lower.source) == ("default", "enqueued")
    half = dataclasses.replace(default.params, learning_rate=default.params.learning_rate / 2)
    assert lower.params == half


@pytest.mark.parametrize(
    ("rate", "begun"),
    [
        ("4e-3", [4e-3]),
        ("4e-3..1e-1:log", [1e-2, 5e-3]),
        ("9e-3..1e-2:log", [1e-2]),
        ("5e-3,1e-2", [1e-2, 5e-3]),
    ],
)
def test_a_rate_that_the_space_does_not_have_is_not_begun_with(rate, begun):
    app.start(search(sets=(f"learning_rate={rate}",)), ONE)
    with Store.open("tune.db", mode="read") as store:
        assert [params.learning_rate for params in store.study("demo").config.first] == begun


def complete(*losses):
    """Return trials that have ended with these losses."""
    one = next(trial for trial in make_study(5).trials if trial.state == "complete")
    return [dataclasses.replace(one, number=number, value=loss) for number, loss in enumerate(losses)]


def stage_of(*trials_and_rates):
    """Return a step whose trials went on from these trials, at these rates."""
    (one,) = complete(0.4)
    entries = (
        Entry(params=one.params, seed=0, trial=trial, start=3, rate=rate) for trial, rate in trials_and_rates
    )
    return Stage(kind="longer", parent="demo", entries=tuple(entries))


def goes_up(before, *losses_and_rates):
    """Return who goes up of trials of these losses, which went on at these rates from one of ``before``."""
    trials = complete(*(loss for loss, _ in losses_and_rates))
    stage = stage_of(*((7, rate) for _, rate in losses_and_rates))
    return [trial.number for trial in going_up(trials, stage, {7: before})]


def test_a_lower_rate_goes_up_where_it_gains_much_more():
    assert goes_up(0.4334, (0.3594, 1.0), (0.3242, 0.5)) == [1]


@pytest.mark.parametrize("lower", [2.3378, 2.2560])
def test_a_lower_rate_that_gains_little_more_goes_up_behind_its_own(lower):
    assert goes_up(2.5609, (2.3428, 1.0), (lower, 0.5)) == [0]


def test_a_lower_rate_goes_up_where_its_own_gains_nothing_any_more():
    assert goes_up(0.93, (0.9319, 1.0), (0.9301, 0.5)) == [1]


def test_a_lower_rate_that_is_behind_stays_there():
    assert goes_up(0.4, (0.3, 1.0), (0.31, 0.5)) == [0]


def test_a_lower_rate_that_yields_leaves_its_trial_behind_whoever_is_better_than_that():
    trials = complete(0.396, 0.397, 0.45)
    stage = stage_of((7, 0.5), (8, 1.0), (7, 1.0))
    assert [trial.number for trial in going_up(trials, stage, {7: 0.7, 8: 0.7})] == [1, 2]


def test_of_what_is_selected_by_a_metric_the_metric_alone_says_which_rate_goes_up():
    trials = [
        dataclasses.replace(trial, score=score)
        for trial, score in zip(complete(0.4, 0.4), (0.7, 0.9), strict=True)
    ]
    stage = stage_of((7, 1.0), (7, 0.5))
    assert [trial.number for trial in going_up(trials, stage, {7: 0.7})] == [1]


def test_the_best_of_the_search_goes_up_whatever_is_close_to_it():
    assert [trial.number for trial in going_up(complete(0.4001, 0.4), None, {})] == [1, 0]


def test_one_that_was_begun_when_such_searches_were_made_otherwise_is_gone_on_with_by_the_same_command():
    stop = StopSignal()
    with pytest.MonkeyPatch.context() as before:
        made = request.make_config
        before.setattr(
            preparing,
            "make_config",
            lambda asked, base: made(dataclasses.replace(asked, as_before=True), base),
        )
        cut = app.start(search(), ONE, observers=[Heard(stop, 20)], stop=stop)
    assert cut.ended.why == "interrupted"
    with Store.open("tune.db", mode="write") as store:
        begun = store.study("demo")
        assert app.plan(search(), ONE).config.ladder == begun.config.ladder
        store.acquire(begun.id)
        with pytest.raises(StudyBusy, match="'demo': process"):
            look_first(request.Request(search=search(), run=ONE))
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        begun = store.study("demo")
        names = [head.name for head in store.studies()]
    assert (begun.config.pruner, begun.config.ladder.last_factor, len(begun.config.first)) == (
        Halving(),
        2,
        1,
    )
    assert names == ["demo", *(f"demo.x{2**level}" for level in range(1, begun.config.ladder.steps + 1))]
    assert (done.study, done.ended.why) == (names[-1], "complete")


def test_a_pruner_that_was_named_is_another_choice_than_none_even_where_it_is_the_usual_one():
    app.start(search(pruner="halving"), ONE, observers=[Heard(stop := StopSignal(), 5)], stop=stop)
    app.start(search(), ONE, observers=[Heard(stop := StopSignal(), 5)], stop=stop)
    with Store.open("tune.db", mode="read") as store:
        assert len(list(store.studies())) == 2


@pytest.mark.parametrize("rates", [[1e-3, 3e-3, 9e-3], "9e-3..1e-2:log"])
def test_no_rate_is_tried_that_the_space_does_not_have(rates):
    app.start(search(set={"learning_rate": rates}), ONE)
    with Store.open("tune.db", mode="read") as store:
        steps = [store.study(head.name) for head in store.studies() if head.name != "demo"]
        assert {entry.rate for step in steps for entry in step.config.stage.entries} == {1.0}
        for step in steps[:-1]:
            assert len({entry.trial for entry in step.config.stage.entries}) == step.trials


def test_a_search_that_climbs_and_promotes_begins_more_trials_of_as_many_examples():
    app.start(search(study="a", pruner="promote"), ONE)
    app.start(search(study="b"), ONE)
    with Store.open("tune.db", mode="read") as store:
        a, b = (store.study(name) for name in "ab")
        begun = [len(store.trials(study.id)) for study in (a, b)]
        spent = [trained(store, name) for name in "ab"]
        complete = [trial for trial in store.trials(a.id) if trial.state == "complete" and trial.number]
    assert (a.config.pruner, b.config.pruner) == (Promote(), Halving(first=1, peers=3))
    assert a.config.ladder == b.config.ladder
    assert begun[0] > 1.4 * begun[1]
    assert max(spent) <= a.config.ladder.searching
    assert spent[0] > 0.95 * a.config.ladder.searching
    assert len(complete) >= a.config.ladder.planned(99)[0].count


def test_one_that_was_begun_with_a_pruner_that_was_named_is_not_taken_for_one_of_no_name():
    app.start(search(pruner="median"), ONE, observers=[Heard(stop := StopSignal(), 5)], stop=stop)
    app.start(search(), ONE, observers=[Heard(stop := StopSignal(), 5)], stop=stop)
    with Store.open("tune.db", mode="read") as store:
        found = {head.name: store.study(head.name).config.pruner for head in store.studies()}
    assert found == {"demo": Median(), "demo-2": Halving(first=1, peers=3)}


def test_a_schedule_that_cannot_go_on_is_refused_before_anything_begins(tmp_path):
    with pytest.raises(UsageError, match=r"lr_scheduler_type: --examples-in-all .*warmup_stable_decay"):
        app.start(search(set={"lr_scheduler_type": "cosine"}), ONE)
    assert not (tmp_path / "tune.db").exists()


def test_more_than_one_word_on_how_much_is_trained_is_refused():
    from loratune.app.request import make_request

    with pytest.raises(UsageError, match=r"--examples-in-all and --hours: .*give one"):
        make_request(None, {"examples_in_all": 1000, "hours": 1.0})
    with pytest.raises(UsageError, match=r"--trials and --hours"):
        make_request(None, {"trials": 10, "hours": 1.0})


def test_the_help_names_the_pruner_of_a_search_that_climbs():
    said = str(app.SearchOptions.model_fields["pruner"].metadata)
    assert PRUNERS.parse(re.search(r"halving:first\S+", said)[0]) == request.CLIMBING


def test_a_rate_that_was_lowered_below_is_told_of_every_study_above():
    (one,) = complete(0.4)

    def step(kind, parent, *trials_and_rates):
        entries = (
            Entry(params=one.params, seed=0, trial=trial, rate=rate) for trial, rate in trials_and_rates
        )
        return Stage(kind=kind, parent=parent, entries=tuple(entries))

    stages = {
        "demo": None,
        "demo.x2": step("longer", "demo", (3, 1.0), (3, 0.5)),
        "demo.x4": step("longer", "demo.x2", (1, 1.0), (1, 0.5), (0, 1.0)),
        "demo.x8": step("longer", "demo.x4", (0, 1.0)),
        "demo.x8.train": step("train", "demo.x8", (0, 1.0)),
    }
    with Store.open("tune.db", mode="create") as store:
        for name, stage in stages.items():
            store.create_study(name=name, trials=1, config=make_config(stage=stage), facts=make_facts())

        def said(name, trial):
            found = slowed(store, store.study(name), trial)
            return None if found is None else found.words

        assert said("demo", 3) is said("demo.x2", 0) is said("demo.x4", 2) is None
        half = "It began as trial 3 of study demo, and ended at 0.5 of that learning rate."
        assert {said("demo.x4", 0), said("demo.x8", 0), said("demo.x8.train", 0)} == {half}
        assert said("demo.x4", 1) == half.replace("0.5", "0.25")


def test_a_verdict_tells_of_a_rate_lowered_in_whichever_step_and_once():
    """The best of each study is its trial 0, and each goes on from the one before it in the table."""
    (one,) = complete(0.4)
    rates = {"demo.x2": ("longer", 0.5), "demo.x4": ("longer", 1.0), "demo.x8": ("longer", 0.5)}
    rates |= {"demo.x8.train": ("train", 1.0)}
    with Store.open("tune.db", mode="create") as store:
        store.create_study(name="demo", trials=1, config=make_config(), facts=make_facts())
        parent, said = "demo", {}
        for name, (kind, rate) in rates.items():
            stage = Stage(
                kind=kind, parent=parent, entries=(Entry(params=one.params, seed=0, trial=0, rate=rate),)
            )
            config, parent = make_config(stage=stage), name
            study = store.create_study(name=name, trials=1, config=config, facts=make_facts())
            store.acquire(study.id)
            store.add_trial(study.id, number=0, params=one.params, seed=0, source="default")
            ending = Ending(trial=0, state="complete", reason=None, value=1.0, adapter=None)
            store.record_round(study.id, [], [ending])
            store.release(study.id)
            words = " ".join(verdict(load_view(store, name)).sentences)
            said[name] = [share for share in ("0.25 of", "0.5 of") if share in words]
            assert words.count("learning rate") == len(said[name])
    assert said == {
        "demo.x2": ["0.5 of"],
        "demo.x4": ["0.5 of"],
        "demo.x8": ["0.25 of", "0.5 of"],
        "demo.x8.train": ["0.25 of"],
    }
