"""Studies that follow from another: trials that are listed, under seeds of their own, and that go on."""

from __future__ import annotations

import dataclasses

import pytest
from loratune.objectives.testing.fake import FakePlan
from loratune.storage import study_files
from loratune.storage.check import findings
from loratune.storage.store import Store
from loratune.study.budget import BEFORE_DECAY, ROUNDS
from loratune.study.ranking import ranked
from loratune.study.stage import Entry, Stage
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


def test_its_configuration_is_read_as_it_was_written(bench) -> None:
    config = parent_study(bench)
    made = follow(bench, config, going_on(bench, 2))
    assert StudyConfig.from_json(made.to_json()) == made
    with Store.open(str(bench.path), mode="read") as store:
        assert store.study("b").config == made


def test_a_search_is_stored_as_older_versions_wrote_it(bench) -> None:
    assert not {"stage", "keep_held"} & bench.config().to_json().keys()
