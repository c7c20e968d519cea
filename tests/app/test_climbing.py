"""From a search that was given examples in all up to one model that is trained to the end."""

from __future__ import annotations

import dataclasses

import pytest
import safetensors
from climbs import GIVEN, ONE, Heard, in_a_folder, search, trained
from fake_processes import Worker
from loratune import app
from loratune.app import climbing, retraining, workers
from loratune.app.climbing import came_from, climb, step_name
from loratune.app.exporting import handover
from loratune.app.request import CLIMBING
from loratune.errors import UsageError
from loratune.reports.load import load_view
from loratune.reports.verdict import verdict
from loratune.search.interrupt import StopSignal
from loratune.storage import study_files
from loratune.storage.store import Store
from loratune.study.handover import provenance


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    in_a_folder(tmp_path, monkeypatch)
    return tmp_path


def record(store, name):
    """Return all of a study that a repetition must repeat, and what it trained."""
    study = store.study(name)
    trials = store.trials(study.id)
    points = [(point.trial, point.round, point.eval_loss) for point in store.curve(study.id)]
    return [(t.number, t.params, t.seed, t.state, t.value, t.rounds) for t in trials], points


def test_each_step_trains_the_best_of_the_one_below_longer_from_where_it_held():
    heard = Heard()
    done = app.start(search(), ONE, observers=[heard])
    with Store.open("tune.db", mode="read") as store:
        root = store.study("demo")
        ladder = root.config.ladder
        assert ladder is not None
        names = [step_name("demo", ladder.times(level)) for level in range(1, ladder.steps + 1)]
        assert heard.studies == ["demo", *names]
        assert (done.study, done.trials, done.ended.why) == (names[-1], 1, "complete")
        below, before = root, {}
        for level, name in enumerate(names, 1):
            study = store.study(name)
            times, begins = (3, 2) if level == ladder.steps else (2, 3)
            assert study.facts.budget.examples == times * below.facts.budget.examples
            going = climbing.going_up(store.trials(below.id), below.config.stage, before)
            best = [*going[: study.trials - 1], going[0]] if level < ladder.steps else [going[0]]
            before = {one.number: one.value for one in store.trials(below.id)}
            trials, entries = store.trials(study.id), study.config.stage.entries
            if len(best) > 1:
                # In the last place the best one again, at half of its learning rate from there on.
                half = dataclasses.replace(best[0].params, learning_rate=best[0].params.learning_rate / 2)
                best[-1] = dataclasses.replace(best[0], params=half)
            assert [entry.rate for entry in entries] == [1.0] * (len(best) - 1) + [0.5 if best[1:] else 1.0]
            assert [entry.trial for entry in entries] == [trial.number for trial in best]
            assert [trial.params for trial in trials] == [trial.params for trial in best]
            rounds = {point.round for point in store.curve(study.id) if point.trial == 0}
            assert min(rounds) == begins + 1
            below = study
        spent = sum(trained(store, name) for name in ("demo", *names))
    assert 0.8 * GIVEN < spent <= GIVEN


def test_the_search_stays_within_its_share_and_holds_its_rate():
    app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        root = store.study("demo")
        assert trained(store, "demo") <= root.config.ladder.searching
        schedules = {trial.params.lr_scheduler_type for trial in store.trials(root.id)}
    assert schedules == {"warmup_stable_decay"}


@pytest.mark.parametrize("share", [0.1, 0.7, 0.9, 0.97])
def test_wherever_it_is_interrupted_it_goes_on_and_comes_to_the_same(tmp_path, monkeypatch, share):
    whole_run = Heard()
    app.start(search(), ONE, observers=[whole_run])
    after = int(share * whole_run.points)
    stop = StopSignal()
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    interrupted = app.start(search(), ONE, observers=[Heard(stop, after)], stop=stop)
    assert interrupted.ended.why == "interrupted"
    done = app.resume(run=ONE)
    with (
        Store.open(str(tmp_path / "tune.db"), mode="read") as whole,
        Store.open("tune.db", mode="read") as now,
    ):
        names = [head.name for head in whole.studies()]
        assert [head.name for head in now.studies()] == names
        assert done.study == names[-1]
        for name in names:
            assert record(now, name) == record(whole, name)


class PlannedError(Exception):
    """Ends a confirmation once it has said what it would do."""


@pytest.mark.parametrize(("named", "parent"), [(None, "demo"), ("demo.x2", "demo.x2")])
def test_what_is_confirmed_is_the_search_unless_a_step_is_named(named, parent):
    app.start(search(), ONE)

    def note(plan):
        assert plan.parent == parent
        raise PlannedError

    with pytest.raises(PlannedError):
        app.confirm(named, ONE, top=2, seeds=2, planned=note)


def test_a_search_that_is_done_is_not_done_again():
    app.start(search(), ONE)
    heard = Heard()
    app.resume("demo", ONE, observers=[heard])
    assert heard.points == 0


def test_hours_become_examples_by_the_speed_that_was_measured():
    app.start(app.SearchOptions(hours=0.05, seed=3), ONE)
    with Store.open("tune.db", mode="read") as store:
        study = store.study("demo")
    ladder = study.config.ladder
    assert ladder is not None
    assert ladder.hours == 0.05
    assert ladder.examples == pytest.approx(0.05 * 3600 * study.facts.rows_per_second * 0.75, rel=0.01)


def test_the_trained_model_is_traced_to_its_trial_of_the_search():
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        last = store.study(done.study)
        (trial,) = store.trials(last.id)
        name, number = came_from(store, last, trial.number)
        origin = store.trials(store.study(name).id)[number]
    assert (name, origin.params) == ("demo", trial.params)


def test_a_study_of_a_steps_name_is_left_alone_and_the_step_takes_the_next_name(tmp_path):
    app.start(app.SearchOptions(study="demo.x2", trials=2), ONE)
    with Store.open("tune.db", mode="read") as store:
        before = record(store, "demo.x2")
    done = app.start(search(), ONE)
    again = app.resume("demo", ONE)
    with Store.open("tune.db", mode="read") as store:
        assert record(store, "demo.x2") == before
        assert store.study("demo.x2-2").config.stage.parent == "demo"
        assert came_from(store, store.study(done.study), 0)[0] == "demo"
    assert again.study == done.study


def test_searches_whose_long_names_begin_alike_climb_each_on_its_own():
    names = ["m" * 62 + end for end in ("-a", "-b")]
    done = [app.start(search(study=name), ONE) for name in names]
    with Store.open("tune.db", mode="read") as store:
        found = [came_from(store, store.study(one.study), 0)[0] for one in done]
        assert all(len(head.name) <= 64 for head in store.studies())
    assert found == names


def test_a_step_that_was_begun_keeps_its_trials_whatever_the_record_says_since():
    stop = StopSignal()
    whole_run = Heard()
    app.start(app.SearchOptions(study="whole", hours=0.05, seed=3), ONE, observers=[whole_run])
    with Store.open("tune.db", mode="read") as store:
        first = len(store.curve(store.study("whole").id))
    heard = [Heard(stop, first + 2)]
    cut = app.start(app.SearchOptions(study="cut", hours=0.05, seed=3), ONE, observers=heard, stop=stop)
    assert (cut.study, cut.ended.why) == ("cut.x2", "interrupted")
    with Store.open("tune.db", mode="write") as store:
        study = store.study("cut")
        store.acquire(study.id)
        # So much time has passed that no step would begin now.
        store.add_event(study.id, "interrupted", why="interrupted", seconds=1e6, rounds=0)
        store.release(study.id)
    done = app.resume("cut", ONE)
    assert (done.study, done.ended.why) == ("cut.x2", "complete")


def test_the_time_that_a_run_may_take_is_that_of_all_its_steps():
    done = app.start(search(), ONE)
    ended = dataclasses.replace(done.ended, seconds=6.0)
    with Store.open("tune.db", mode="write") as store:
        root = store.study("demo")
        searched = dataclasses.replace(done, study="demo", trials=root.trials, ended=ended)
        late, early = (
            climb(store, root, ONE.with_given({"timeout": limit}), ended=searched) for limit in (5.0, 600.0)
        )
    assert (late.study, late.ended.why) == ("demo", "timeout")
    assert (early.study, early.ended.why) == (done.study, "complete")


@pytest.mark.parametrize("held", [True, False])
def test_a_trial_of_a_step_is_trained_again_from_where_it_went_on(tmp_path, held):
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        for head in store.studies():
            for state in (store.study_dir(head.id) / study_files.HELD).glob("*"):
                if not held:
                    state.unlink()
        steps = [store.study(head.name) for head in store.studies() if head.name != "demo"]
        assert steps[-1].name == done.study
        assert any(entry.rate < 1 for step in steps for entry in step.config.stage.entries)
        for step in steps:
            for trial in store.trials(step.id):
                again = retraining.train_again(store, step, trial, tmp_path)
                kept = store.study_dir(step.id) / trial.adapter
                assert state_of(kept) == state_of(again), f"trial {trial.number} of {step.name}"


def state_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()["state"]


def test_a_search_that_may_spend_no_more_is_over_and_not_interrupted():
    # Nobody is stopped, so fewer trials can be paid than where bad ones are.
    app.start(search(pruner="none"), ONE)
    with Store.open("tune.db", mode="read") as store:
        root = store.study("demo")
        assert root.trials == len(store.trials(root.id)) < root.config.ladder.most_trials(CLIMBING)
        assert not verdict(load_view(store, "demo")).running


def test_trials_are_no_answer_to_examples_in_all():
    app.start(search(), ONE)
    with pytest.raises(UsageError, match=r"--trials 90: study demo was given examples in all"):
        app.resume("demo", ONE, trials=90)


def test_of_the_states_from_before_the_decay_only_those_that_went_up_stay():
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        steps = [store.study(head.name) for head in store.studies() if head.name != "demo"]
        for step in steps:
            folder = store.study_dir(store.study(step.config.stage.parent).id) / study_files.HELD
            names = {path.name for path in folder.iterdir()}
            assert names == {f"trial-{entry.trial:05d}.safetensors" for entry in step.config.stage.entries}
        assert not (store.study_dir(store.study(done.study).id) / study_files.HELD).exists()


class Slower(Worker):
    """Measures another speed than the first one did."""

    def prepare(self, config):
        facts = super().prepare(config)
        return dataclasses.replace(facts, rows_per_second=0.8 * facts.rows_per_second)


@pytest.mark.parametrize("named", [None, "mine"])
def test_the_same_hours_again_go_on_with_the_same_study_whatever_the_speed_is_now(monkeypatch, named):
    asked = app.SearchOptions(hours=0.05, seed=3, study=named)
    stop = StopSignal()
    cut = app.start(asked, ONE, observers=[Heard(stop, 3)], stop=stop)
    monkeypatch.setattr(workers, "ProcessWorker", Slower)
    heard = Heard()
    done = app.start(asked, ONE, observers=[heard])
    assert (cut.study, heard.studies[0]) == (named or "demo", named or "demo")
    assert done.ended.why == "complete"


def test_a_search_of_hours_of_which_no_trial_has_a_value_ends_without_a_step(monkeypatch):
    monkeypatch.setattr(climbing, "ranked", lambda _trials: ())
    done = app.start(app.SearchOptions(hours=0.05, seed=3), ONE)
    assert (done.study, done.ended.why) == ("demo", "complete")


def test_other_hours_begin_another_study():
    for hours, name in ((0.05, "demo.x"), (0.04, "demo-2.x")):
        assert app.start(app.SearchOptions(hours=hours, seed=3), ONE).study.startswith(name)


def test_a_flag_goes_over_what_the_file_says_of_how_much_is_trained(tmp_path):
    from loratune.app.request import make_request

    file = tmp_path / "search.yaml"
    file.write_text("hours: 1\n")
    found = make_request(file, {"trials": 3}).search
    assert (found.trials, found.hours, found.examples_in_all) == (3, None, None)
    assert make_request(file, {}).search.hours == 1


def test_a_name_that_optunas_tables_alone_have_is_passed_over(tmp_path):
    import optuna

    with Store.open("tune.db", mode="create"):
        pass
    optuna.create_study(study_name="demo.x2", storage=f"sqlite:///{tmp_path / 'tune.db'}")
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        names = [head.name for head in store.studies()]
        assert "demo.x2-2" in names
        assert "demo.x2" not in names
        assert store.study(done.study).config.keep_held == 0  # it came to its last step


def test_a_finished_last_step_is_spoken_of_as_trained_and_not_as_a_winner_among_one():
    done = app.start(search(), ONE)
    with Store.open("tune.db", mode="read") as store:
        view = load_view(store, done.study)
    found = verdict(view)
    examples = view.full_examples
    assert found.headline.replace(",", "").startswith(f"Trained on {examples} examples in all")
    said = " ".join(found.sentences)
    assert "It was trained for" in said
    assert "selected" not in said
    handed = handover(view)
    assert handed.trained[0].startswith("It went on from trial ")
    assert not any("short trial runs high" in words for words in provenance(handed))
    with Store.open("tune.db", mode="read") as store:
        first = load_view(store, step_name("demo", 2))
    # A step on the way is no end: its configuration was chosen, and goes on to be trained.
    assert handover(first).trained == ()
    assert "is the best of" in verdict(first).headline


def test_the_plan_of_a_climb_names_no_more_trials_than_there_are():
    options = search(
        set={
            "learning_rate": "0.001,0.01",
            "lora_rank": "8",
            "lora_alpha": "16",
            "batch_size": "8",
            "warmup_ratio": "0.1",
        }
    )
    plan = app.plan(options, ONE)
    values = plan.values()
    done = app.start(options, ONE)
    assert done.ended.why in ("complete", "exhausted")
    assert values["trials"] == 2
    assert all(step["trials"] <= 2 for step in values["steps"])
    with Store.open("tune.db", mode="read") as store:
        ran = [len(store.trials(number)) for number in store.study_ids()]
    assert ran == [values["trials"], *(step["trials"] for step in values["steps"])]
