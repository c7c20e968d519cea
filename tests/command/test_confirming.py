"""The best of a study trained again under several seeds, as a user does it; then the test set, once."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from loratune.reports.confirmation import confirmation
from loratune.reports.load import load_confirmation
from loratune.storage.store import Store
from loratune.study.budget import ROUNDS
from loratune.study.locked_set import KIND
from made_up_studies import make_config, make_facts

FLAGS = ("--top=2", "--seeds=3", "--workers=1")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")


@pytest.fixture(scope="module")
def confirmed(finished, run_tune, tmp_path_factory):
    """A folder with the study ``done`` and the study that confirms it; to be read only."""
    folder = tmp_path_factory.mktemp("confirmed") / "in"
    shutil.copytree(finished, folder)
    ended = run_tune("confirm", "done", *FLAGS, cwd=folder)
    assert ended.code == 0, ended.err
    (folder / "said").write_text(ended.err + ended.out, encoding="utf-8")
    return folder


def found_in(folder, name="done.confirm"):
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        return confirmation(load_confirmation(store, store.study(name)))


def record(folder, name="done.confirm"):
    """Everything that was measured in training and on the test set but for times and memory."""
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        if not store.holds(name):
            return {}, [], []
        study = store.study(name).id
        points = [
            (one.trial, one.round, one.examples, one.train_loss, one.eval_loss, one.grad_norm)
            for one in store.curve(study)
        ]
        final = {number: one.losses.tobytes() for number, one in store.evaluations(study, ROUNDS).items()}
        return final, points, [event.detail for event in store.events(study, KIND)]


def test_the_best_and_the_default_are_trained_again_under_every_seed(confirmed):
    with Store.open(str(confirmed / "tune.db"), mode="read") as store:
        parent, child = store.study("done"), store.study("done.confirm")
        trials, again = store.trials(parent.id), store.trials(child.id)
        best = sorted((one for one in trials if one.value is not None), key=lambda one: one.value)[:2]
        wanted = [*best, *([] if trials[0] in best else [trials[0]])]
        assert [(one.params, one.seed) for one in again] == [
            (one.params, seed) for seed in (0, 1, 2) for one in wanted
        ]
        assert child.facts.budget.examples == parent.facts.budget.examples
        assert child.facts.budget.final_eval_examples == parent.facts.data.validation
        assert all(one.adapter for one in again)
        # Under the study's own seed it is the same training: on the search's own examples the same losses.
        size = parent.facts.budget.final_eval_examples
        for number, trial in enumerate(wanted):
            before = store.evaluation(parent.id, trial.number, ROUNDS)
            if before is not None:
                now = store.evaluation(child.id, number, ROUNDS)
                assert now.losses[:size] == pytest.approx(before.losses, rel=1e-5)


def test_it_says_beforehand_what_it_will_do_and_afterwards_what_it_found(confirmed):
    said = (confirmed / "said").read_text(encoding="utf-8")
    found = found_in(confirmed)
    assert "under 3 seeds, 64 examples each, about" in said
    assert "all 540 validation examples" in said
    assert f"Trial {found.recommended} is recommended: mean loss" in " ".join(said.split())
    assert "The test set of 540 examples was opened once, on " in " ".join(said.split())
    assert "stable across seeds here" in " ".join(said.split())


def test_a_model_card_written_after_it_knows_of_the_look(confirmed, tune, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(confirmed, folder)
    assert tune("export", "done", "--format", "peft", "-o", "best", cwd=folder).code == 0
    card = (folder / "best" / "README.md").read_text(encoding="utf-8")
    assert "the test set was opened 1 time on these data" in card


def test_killed_at_any_time_it_ends_with_the_same_numbers(confirmed, finished, begin, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(finished, folder)
    wanted = ("confirm", "done", *FLAGS)
    blows = (
        (wanted, 5),
        (("resume", "done.confirm", "--workers=1"), 20),
        (("confirm", "--workers=1"), 35),
    )
    for words, goal in blows:
        run = begin(*words, cwd=folder)
        run.wait_for(lambda goal=goal: len(record(folder)[1]) >= goal, f"{goal} rounds")
        assert run.end(signal.SIGKILL) == -signal.SIGKILL
    run = begin(*wanted, cwd=folder)
    run.wait_for(lambda: "opening the test set" in run.said, "the opening of the test set")
    assert run.end(signal.SIGKILL) == -signal.SIGKILL
    assert record(folder)[2] == []  # nothing was seen, so nothing was opened
    with Store.open(str(folder / "tune.db"), mode="read") as store:
        kept = store.study_dir(store.study("done.confirm").id) / "adapters"
    measured = found_in(folder).of(found_in(folder).recommended).entries
    (kept / f"trial-{measured[0]:05d}.safetensors").unlink()
    damaged = kept / f"trial-{measured[1]:05d}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    last = begin("confirm", "--workers=1", cwd=folder)
    assert last.end() == 0, last.said
    assert last.said.count("training it again") == 2
    assert record(folder) == record(confirmed)


def test_a_second_opening_is_refused_and_with_again_it_is_counted(confirmed, run_tune, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(confirmed, folder)
    same = run_tune("confirm", "done", *FLAGS, cwd=folder)
    assert same.code == 0, same.err
    assert "all trained already" in same.err
    assert "opened once before; stays closed without --again" in same.err
    assert record(folder) == record(confirmed)

    other = run_tune("confirm", "done", "--top=1", "--seeds=2", "--workers=1", "--json", cwd=folder)
    assert other.code == 0, other.err
    assert "was opened once already, by another confirmation, and stays closed" in " ".join(other.err.split())
    told = [json.loads(line)["event"] for line in other.out.splitlines()]
    assert (told[0], told[-1]) == ("study_started", "study_ended")
    assert told.count("trial_ended") == len(found_in(folder, "done.confirm-2").configurations) * 2
    assert found_in(folder, "done.confirm-2").tested is None

    again = run_tune("confirm", "done", "--top=1", "--seeds=2", "--workers=1", "--again", cwd=folder)
    assert again.code == 0, again.err
    assert "was opened 2 times, last on" in " ".join(again.out.split())
    assert found_in(folder, "done.confirm-2").tested.opened == 2
    assert found_in(folder).tested.opened == 1


def test_show_and_report_and_export_know_what_was_confirmed(confirmed, run_tune, tmp_path):
    found = found_in(confirmed)
    for words in (("show", "done"), ("show",)):
        shown = run_tune(*words, cwd=confirmed).out
        assert f"Trial {found.recommended} is recommended: mean loss" in " ".join(shown.split())
    values = json.loads(run_tune("show", "done", "--json", cwd=confirmed).out)
    (told,) = values["confirmations"]
    assert told["recommended"] == found.recommended
    assert told["tested"]["mean"]["value"] == found.tested.mean.value
    page = tmp_path / "report.html"
    assert run_tune("report", "done", "-o", str(page), cwd=confirmed).code == 0
    text = page.read_text(encoding="utf-8")
    assert "Confirmed by done.confirm" in text
    assert f"Trial {found.recommended} is recommended" in text
    exported = run_tune("export", "done", "--format=json", cwd=confirmed)
    assert exported.json["trial"] == found.recommended
    assert f"trial {found.recommended} is taken: done.confirm recommends it" in exported.err
    other = run_tune("export", "done", "--format=json", "--trial=1", "--anyway", cwd=confirmed)
    assert other.json["trial"] == 1
    # Of the confirming study: the same configuration, under the first seed.
    own = run_tune("export", "done.confirm", "--format=json", cwd=confirmed)
    assert own.json["trial"] == found.of(found.recommended).entries[0]
    assert own.json["hyperparameters"] == exported.json["hyperparameters"]


def test_its_trials_cannot_be_made_more(confirmed, refused):
    ended = refused("resume", "done.confirm", "--trials=40", cwd=confirmed)
    assert ended.code == 2
    assert "its" not in ended.out
    assert "are listed, since it follows from done; leave --trials out" in ended.complaint


def a_study(folder, *, data=None):
    """A study without a trial."""
    with Store.open(str(folder / "tune.db"), mode="create") as store:
        store.create_study(name="bare", trials=4, config=make_config(), facts=make_facts(data=data))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--top=0",), "--top: '0' is no whole number from 1 to 1000"),
        (("--seeds=0",), "--seeds: '0' is no whole number from 1 to 8"),
        (("--seeds=9",), "--seeds: '9' is no whole number from 1 to 8"),
        (("--top=two",), "--top: 'two' is no whole number"),
    ],
)
def test_numbers_that_make_no_sense_are_wrong_usage(tmp_path, refused, flags, said):
    a_study(tmp_path)
    ended = refused("confirm", *flags)
    assert ended.code == 2
    assert said in ended.complaint


def test_a_study_without_a_complete_trial_is_not_confirmed(tmp_path, refused):
    a_study(tmp_path)
    ended = refused("confirm")
    assert (ended.code, ended.out) == (1, "")
    assert ended.complaint == (
        "tune: study bare has no complete trial to confirm; go on with: tune resume bare"
    )
    with Store.open(str(tmp_path / "tune.db"), mode="read") as store:
        assert [study.name for study in store.studies()] == ["bare"]


def test_without_test_examples_nothing_is_confirmed(tmp_path, refused):
    a_study(tmp_path, data={"test": 0})
    ended = refused("confirm", "bare")
    assert ended.code == 1
    assert "study bare: its data have no test examples" in ended.complaint


def test_a_study_that_is_not_there_is_said(tmp_path, refused):
    a_study(tmp_path)
    assert "study 'other': not in" in refused("confirm", "other").complaint
