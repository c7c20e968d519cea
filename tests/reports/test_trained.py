"""What is said of a trial of full length: whose configuration, how long, which weights."""

import dataclasses

import pytest
from loratune.reports.page import render
from loratune.reports.trained import trained
from loratune.reports.verdict import verdict
from loratune.reports.view import FullRunOf
from loratune.study.budget import EVERY_ROUND
from loratune.study.stage import Entry, Stage
from loratune.study.stopping import Stopping


def full_length(view, stopping, *, rounds=8, losses=None, kept=(0, 1)):
    """Return a view as if its first trials were of full length, with these losses after their rounds."""
    losses = losses or [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]
    trials = tuple(
        dataclasses.replace(
            view.trials[number], number=n, state="complete", value=1.2 + n / 10, reason=None, rounds=rounds
        )
        for n, number in enumerate(kept)
    )
    point = view.curve[0]
    curve = tuple(
        dataclasses.replace(point, trial=n, round=index + 1, eval_loss=loss, examples=(index + 1) * 192)
        for n in range(len(kept))
        for index, loss in enumerate(losses[:rounds])
    )
    entries = tuple(
        Entry(params=trial.params, seed=0, trial=number) for trial, number in zip(trials, kept, strict=True)
    )
    config = dataclasses.replace(
        view.study.config,
        stage=Stage(kind="train", parent="demo", entries=entries),
        objective=dataclasses.replace(view.study.config.objective, stopping=stopping),
    )
    facts = view.study.facts
    facts = dataclasses.replace(facts, budget=dataclasses.replace(facts.budget, rungs=EVERY_ROUND))
    study = dataclasses.replace(view.study, config=config, facts=facts, trials=len(kept))
    evaluations = {n: view.evaluations[view.best().number] for n in range(len(kept))}
    return dataclasses.replace(view, study=study, trials=trials, curve=curve, evaluations=evaluations)


@pytest.mark.parametrize(("keep", "round_number"), [("best", 3), ("last", 5)])
def test_the_kept_round_is_the_best_or_the_last(view, keep, round_number):
    losses = [2.0, 1.8, 1.5, 1.6, 1.7]
    made = full_length(view, Stopping(keep=keep, patience=2), rounds=5, losses=losses)
    found = trained(made, made.trials[0])
    assert (found.kept, found.rounds, found.of, found.examples) == (round_number, 5, 8, 960)
    assert "it ended after round 5, as 2 rounds brought nothing lower" in " ".join(found.sentences)


def test_a_search_has_nothing_of_the_kind(view):
    assert trained(view, view.trials[0]) is None
    assert verdict(view).trained is None


def test_alone_it_is_said_to_be_trained_and_not_to_have_won(view):
    found = verdict(full_length(view, Stopping(), kept=(7,)))
    assert found.headline.startswith("Trained at full length: eval loss 1.2000 on 384 validation examples")
    words = " ".join(found.sentences)
    assert "It is trial 7 of study demo, trained on 1,536 examples" in words
    assert "Kept are the weights after round 8 of 8" in words
    assert "picking the best" not in words
    assert "selected" not in words


def test_the_two_that_were_trained_are_compared_by_their_names_in_the_search(view):
    found = verdict(full_length(view, Stopping(), kept=(7, 0)))
    assert found.default.words.startswith("Trial 0 of study demo (default) has 1.3000")
    swapped = verdict(full_length(view, Stopping(), kept=(0, 7)))
    assert swapped.default.words.startswith("Trial 7 of study demo has 1.3000")


def test_in_a_step_of_a_longer_search_the_default_is_who_has_its_configuration(view):
    def step(*came_up):
        made = full_length(view, None, kept=came_up)
        stage = dataclasses.replace(made.study.config.stage, kind="longer")
        config = dataclasses.replace(made.study.config, stage=stage)
        study = dataclasses.replace(made.study, config=config)
        trials = [
            dataclasses.replace(trial, source="enqueued" if number else "default")
            for trial, number in zip(made.trials, came_up, strict=True)
        ]
        return verdict(dataclasses.replace(made, study=study, trials=tuple(trials)))

    assert step(7, 0).default.against == "trial 1 (default)"
    assert (step(7, 3).default, step(7, 3).default_note) == (None, None)
    assert step(0, 7).default_note.startswith("It is trial 0, the default configuration")
    assert "It went on from trial 7 of study demo, to 1,536 examples in all." in step(7, 0).sentences
    assert verdict(view).went_on_from is None


def test_the_study_that_was_searched_says_what_was_trained_of_it_and_no_longer_proposes_it(view):
    run = FullRunOf(study="demo.train", trial=7, loss=0.28921)
    followed = dataclasses.replace(view, full_runs=(run,), live=False)
    words = "demo.train trained trial 7 at full length: eval loss 0.2892."
    assert words in verdict(followed).sentences
    assert words in render(followed)
    assert "tune train " not in render(followed).partition("Going on")[2]
    assert "tune train " in render(dataclasses.replace(view, live=False)).partition("Going on")[2]
