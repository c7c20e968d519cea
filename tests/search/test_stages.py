"""Studies that follow from another: trials that are listed, under seeds of their own, and that go on."""

from __future__ import annotations

import dataclasses

import pytest
import safetensors
from loratune.objectives.testing import fake_checkpoint
from loratune.objectives.testing.fake import FakePlan, Fault
from loratune.objectives.testing.surface import Surface
from loratune.storage import study_files
from loratune.storage.check import findings
from loratune.storage.store import Store
from loratune.study.budget import BEFORE_DECAY, ROUNDS
from loratune.study.facts import Facts
from loratune.study.pruners import NoPruning
from loratune.study.ranking import ranked
from loratune.study.stage import Entry, Stage
from loratune.study.stopping import Stopping, best_round
from loratune.study.study_config import StudyConfig

PLAN = FakePlan(slots=4)
BEGINS = BEFORE_DECAY // 2


def parent_study(bench, trials: int = 8, keep_held: int = 3) -> StudyConfig:
    config = bench.config(keep_held=keep_held, pruner="none")
    bench.create(trials, config)
    bench.run(PLAN)
    return config


def follow(bench, config: StudyConfig, entries: tuple[Entry, ...], name: str = "b", **values) -> StudyConfig:
    longer = bench.facts(config).budget.examples * 2
    objective = dataclasses.replace(config.objective, examples=longer)
    stage = Stage(kind="longer", parent="a", entries=entries)
    found = dataclasses.replace(config, objective=objective, stage=stage, **values)
    bench.create(len(entries), found, name)
    return found


def going_on(bench, count: int) -> tuple[Entry, ...]:
    return tuple(
        Entry(params=trial.params, seed=trial.seed, trial=trial.number, start=BEGINS)
        for trial in ranked(bench.trials())[:count]
    )


def held(bench, name: str = "a") -> list[int]:
    with bench.store as store:
        folder = store.study_dir(store.study(name).id) / study_files.HELD
    return sorted(int(path.stem.removeprefix("trial-")) for path in folder.iterdir())


def test_its_trials_are_the_listed_ones_under_their_seeds_and_nobody_is_stopped(bench) -> None:
    config = parent_study(bench)
    chosen = ranked(bench.trials())[:3]
    entries = tuple(Entry(params=t.params, seed=seed, trial=t.number) for t in chosen for seed in (0, 1, 2))
    follow(bench, config, entries)
    outcome = bench.run(PLAN, name="b", count=2)
    assert (outcome.why, outcome.counts["complete"]) == ("complete", 9)
    found = [(trial.params, trial.seed) for trial in bench.trials("b")]
    assert found == [(entry.params, entry.seed) for entry in entries]
    assert len({trial.value for trial in bench.trials("b")}) == 9


def test_only_the_best_keep_the_state_before_their_decay(bench) -> None:
    parent_study(bench, keep_held=3)
    assert held(bench) == sorted(trial.number for trial in ranked(bench.trials())[:3])


def test_without_a_wish_no_state_is_kept(bench) -> None:
    bench.create(4)
    bench.run(PLAN)
    with bench.store as store:
        assert not (store.study_dir(store.study("a").id) / study_files.HELD).exists()


def test_a_promoted_trial_goes_on_from_its_state_with_rounds_of_twice_the_length(bench) -> None:
    bench.copying = True
    config = parent_study(bench)
    follow(bench, config, going_on(bench, 2))
    assert bench.run(PLAN, name="b").counts["complete"] == 2
    with bench.store as store:
        study = store.study("b")
        points = store.curve(study.id)
    assert [point.round for point in points if point.trial == 0] == list(range(BEGINS + 1, ROUNDS + 1))
    first = next(point for point in points if point.trial == 0)
    assert first.examples == (BEGINS + 1) * study.facts.budget.round_examples
    with bench.store as store:
        assert not list(findings(store))


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("after", range(0, 12))
def test_wherever_it_is_killed_it_ends_with_the_same_trials(new_bench, after: int, written: bool) -> None:
    whole, killed = new_bench(), new_bench()
    for bench in (whole, killed):
        follow(bench, parent_study(bench), going_on(bench, 3), keep_held=2)
    whole.run(PLAN, name="b")
    if killed.run(PLAN, name="b", crash=(after, written)) is None:
        killed.run(PLAN, name="b")
    assert killed.sequence("b") == whole.sequence("b")
    assert held(killed, "b") == held(whole, "b")


def test_a_trial_whose_state_is_lost_begins_anew_and_says_so(bench) -> None:
    config = parent_study(bench)
    follow(bench, config, going_on(bench, 1))
    with bench.store as store:
        folder = store.study_dir(store.study("a").id)
    for path in (folder / study_files.HELD).iterdir():
        path.unlink()
    assert bench.run(PLAN, name="b").counts["complete"] == 1
    (event,) = bench.events("started_over", "b")
    assert (event["trial"], event["rounds"]) == (0, 0)
    assert "before its decay is lost" in event["reason"]


@pytest.mark.parametrize("gone", [False, True])
def test_where_both_of_its_states_are_lost_a_trial_goes_back_to_the_one_that_it_came_with(
    new_bench, gone: bool
) -> None:
    whole, hurt = new_bench(), new_bench()
    for bench in (whole, hurt):
        follow(bench, parent_study(bench), going_on(bench, 1))
    whole.run(PLAN, name="b")
    # Killed after three of its own five rounds.
    assert hurt.run(PLAN, name="b", crash=(4, True)) is None
    with hurt.store as store:
        (trial,) = store.trials(store.study("b").id)
        folder = store.study_dir(store.study("b").id) / study_files.CHECKPOINTS
        kept = store.study_dir(store.study("a").id) / study_files.HELD
    assert BEGINS + 1 < trial.rounds < ROUNDS
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    if gone:
        for path in kept.iterdir():
            path.unlink()
    assert hurt.run(PLAN, name="b").counts["complete"] == 1
    rounds = [event["rounds"] for event in hurt.events("started_over", "b")]
    if gone:
        assert rounds[-1] == 0
    else:
        assert rounds[-1] == BEGINS
        assert hurt.sequence("b") == whole.sequence("b")


def test_its_configuration_is_read_as_it_was_written(bench) -> None:
    config = parent_study(bench)
    made = follow(bench, config, going_on(bench, 2))
    assert StudyConfig.from_json(made.to_json()) == made
    with Store.open(str(bench.path), mode="read") as store:
        assert store.study("b").config == made


def test_a_search_is_stored_as_older_versions_wrote_it(bench) -> None:
    assert not {"stage", "keep_held"} & bench.config().to_json().keys()
    assert "stopping" not in bench.config().to_json()["objective"]


# Trials of full length, which end by themselves and keep the weights of one of their rounds.

NOISY = FakePlan(slots=4, surface=Surface(noise=1.0))
"""Losses go up and down, so that patience has something to end."""


def train(bench, stopping: Stopping, name: str = "t", count: int = 3) -> StudyConfig:
    config = bench.config()
    bench.create(4, config)
    bench.run(PLAN)
    best = ranked(bench.trials())[:count]
    entries = tuple(Entry(params=trial.params, seed=trial.seed, trial=trial.number) for trial in best)
    objective = dataclasses.replace(config.objective, examples=1024, eval_examples=200, stopping=stopping)
    stage = Stage(kind="train", parent="a", entries=entries)
    found = dataclasses.replace(config, objective=objective, stage=stage, pruner=NoPruning())
    bench.create(count, found, name)
    return found


def losses_of(bench, trial: int, name: str = "t") -> list[float]:
    return [loss for _, loss in bench.curves(name)[trial]]


def test_a_trial_of_full_length_is_evaluated_after_each_round_and_at_last_on_all_that_there_is(bench) -> None:
    train(bench, Stopping())
    assert bench.run(PLAN, name="t").counts["complete"] == 3
    with bench.store as store:
        study = store.study("t")
        sizes = [len(store.evaluation(study.id, 0, number).losses) for number in range(1, ROUNDS)]
        final = store.evaluation(study.id, 0, ROUNDS)
    assert sizes == [50] * (ROUNDS - 1)
    assert all(loss is not None for loss in losses_of(bench, 0))
    assert len(final.losses) == 200
    assert bench.trials("t")[0].value == final.loss


def test_a_trial_ends_when_its_patience_does_and_is_complete_with_the_loss_of_what_it_keeps(bench) -> None:
    stopping = Stopping(patience=2)
    train(bench, stopping)
    assert bench.run(NOISY, name="t").counts["complete"] == 3
    trials = bench.trials("t")
    assert any(trial.rounds < ROUNDS for trial in trials)
    for trial in trials:
        losses = losses_of(bench, trial.number)
        assert len(losses) == trial.rounds
        assert stopping.is_over(losses) or trial.rounds == ROUNDS
        assert not any(stopping.is_over(losses[:length]) for length in range(trial.rounds))
        with bench.store as store:
            final = store.final_evaluations(store.study("t").id)[trial.number]
        assert trial.value == final.loss
        assert len(final.losses) == 200


@pytest.mark.parametrize("keep", ["best", "last"])
def test_what_is_kept_is_the_state_of_the_best_round_or_of_the_last(bench, keep) -> None:
    train(bench, Stopping(keep=keep))
    bench.run(NOISY, name="t")
    best = []
    for trial in bench.trials("t"):
        with bench.store as store:
            adapter = store.study_dir(store.study("t").id) / trial.adapter
        with safetensors.safe_open(adapter, framework="numpy") as file:
            state = file.metadata()["state"]
        chain = [fake_checkpoint.beginning(trial.params, trial.seed)]
        for number in range(1, ROUNDS + 1):
            chain.append(fake_checkpoint.after(chain[-1], number))
        best.append(best_round(losses_of(bench, trial.number)))
        assert state == chain[best[-1] if keep == "best" else ROUNDS]
    assert min(best) < ROUNDS


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("after", range(2, 14, 3))
def test_wherever_it_is_killed_the_full_length_ends_with_the_same_numbers(
    new_bench, after: int, written: bool
) -> None:
    whole, killed = new_bench(), new_bench()
    for bench in (whole, killed):
        train(bench, Stopping(patience=2))
    whole.run(NOISY, name="t")
    if killed.run(NOISY, name="t", crash=(after, written)) is None:
        killed.run(NOISY, name="t")
    assert killed.sequence("t") == whole.sequence("t")


def test_a_worker_that_dies_changes_nothing_of_the_full_length(new_bench) -> None:
    whole, killed = new_bench(), new_bench()
    for bench in (whole, killed):
        train(bench, Stopping(patience=3))
    whole.run(NOISY, name="t")
    faults = tuple(Fault(kind=kind, nth=nth) for nth, kind in ((3, "die"), (5, "die_after_saving")))
    killed.run(dataclasses.replace(NOISY, faults=faults), name="t")
    assert killed.sequence("t") == whole.sequence("t")


def test_a_study_of_before_has_the_rungs_that_it_had(bench) -> None:
    bench.create(1)
    with bench.store as store:
        facts = store.study("a").facts.to_json()
    del facts["budget"]["rungs"]
    assert Facts.from_json(facts).budget.rungs == (1, 2, 4, 8)
