"""Policies are replayed on trained curves as a search would run them."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from loratune.search.pruners.base import Arrivals
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.study.budget import RUNGS

DEFAULT = PRESETS["tiny"].default
TABLES = Path(__file__).resolve().parents[1] / "benchmarks" / "tables"


@pytest.fixture(scope="module")
def modules() -> Iterator[tuple[ModuleType, ModuleType]]:
    """The programs beside the tables, which import each other by name."""
    pytest.importorskip("pyarrow")
    sys.path.insert(0, str(TABLES))
    yield importlib.import_module("worlds"), importlib.import_module("policies")
    sys.path.remove(str(TABLES))


@pytest.fixture(scope="module")
def world_of(modules: tuple[ModuleType, ModuleType]):
    worlds, _ = modules
    table = worlds.load(TABLES / "demo.parquet")
    return lambda seed=0: worlds.Nearest(table, seed)


@pytest.mark.parametrize("table", sorted(TABLES.glob("*.parquet")), ids=lambda path: path.stem)
def test_a_table_holds_each_configuration_once_inside_the_space(
    modules: tuple[ModuleType, ModuleType], table: Path
) -> None:
    table = modules[0].load(table)
    assert len(table.params) == len(set(table.params)) >= 80
    trained = ~np.isnan(table.losses[:, 0])
    assert trained.all()
    assert (table.points >= -1e-9).all()
    assert (table.points <= 1 + 1e-9).all()


def test_the_loss_at_a_rung_is_that_of_its_examples(modules: tuple[ModuleType, ModuleType]) -> None:
    table = modules[0].load(TABLES / "demo.parquet")
    for rung in RUNGS[:-1]:
        each = table.each[5, 1][rung]
        loss = each.sum() / table.tokens[: len(each)].sum()
        assert loss == pytest.approx(table.losses[5, 1, RUNGS.index(rung)])


@pytest.mark.parametrize("name", ["random", "tpe, halving (ours)", "tpe, paused and promoted, factor 2"])
def test_a_policy_spends_its_budget_and_chooses_what_it_ran(
    modules: tuple[ModuleType, ModuleType], world_of, name: str
) -> None:
    replay = modules[1].Replay(world_of(), seed=3, budget=12)
    modules[1].policies()[name](replay)
    assert 12 <= replay.spent <= 13
    assert replay.spent == sum(replay.rounds) / 8
    chosen = replay.runs[replay.chosen()]
    assert replay.state[replay.chosen()] == "complete"
    assert chosen.losses[-1] == min(
        run.losses[-1] for run, state in zip(replay.runs, replay.state, strict=True) if state == "complete"
    )
    assert chosen.worth - replay.world.best > -0.05


def test_a_configuration_of_the_table_is_taken_once(world_of) -> None:
    world = world_of()
    first, second = world.run(world.default), world.run(world.default)
    assert first.params == world.default
    assert second.params != world.default


def test_what_a_run_is_worth_does_not_know_its_own_loss(modules: tuple[ModuleType, ModuleType]) -> None:
    table = modules[0].load(TABLES / "demo.parquet")
    seen = modules[0].Nearest(table, 1).run(table.params[0])
    others = [table.bounded[0, seed, -1] for seed in (0, 2)]
    assert seen.worth == pytest.approx(sum(others) / 2)
    assert seen.losses[-1] == table.losses[0, 1, -1]


def test_halving_by_a_paired_test_stops_what_is_surely_worse_alone(
    modules: tuple[ModuleType, ModuleType], world_of
) -> None:
    worlds, policies = modules
    replay = policies.Replay(world_of(), seed=0, budget=1)
    rng = np.random.default_rng(0)
    shared = rng.gamma(4.0, size=48) * replay.world.tokens[:48]

    def run(worse_by: np.ndarray) -> None:
        each = shared + worse_by * replay.world.tokens[:48]
        loss = each.sum() / replay.world.tokens[:48].sum()
        replay.runs.append(
            worlds.Seen(losses=np.full(4, loss), worth=loss, good=False, params=DEFAULT, each={2: each})
        )

    for worse in (0.0, 0.01, 0.02):
        run(np.full(48, worse))
    run(np.full(48, 0.5))  # worse on each example alike
    noise = rng.normal(scale=3.0, size=48)
    noise -= np.average(noise, weights=replay.world.tokens[:48])
    run(0.3 + noise)  # worse on the whole, now better and now worse
    losses = {2: {number: float(run.losses[0]) for number, run in enumerate(replay.runs)}}
    assert sorted(losses[2], key=losses[2].__getitem__) == [0, 1, 2, 4, 3]
    arrivals = Arrivals(rung=2, arrived=frozenset(range(5)), losses=losses)
    stopped = policies.PairedHalving(replay=replay).decide(arrivals).stop
    assert stopped == {3}


def test_the_best_trained_again_are_settled_by_their_mean(
    modules: tuple[ModuleType, ModuleType], world_of
) -> None:
    worlds, policies = modules

    class Luckless:
        best, tokens, default = 1.0, np.ones(1), DEFAULT

        def again(self, params: LoraParams):
            loss = 1.0 if params.lora_rank == 4 else 2.0
            return worlds.Seen(losses=np.full(4, loss), worth=loss, good=False, params=params)

    replay = policies.Replay(Luckless(), seed=0, budget=30)
    for rank, lucky in ((8, 0.9), (4, 1.1), (16, 3.0)):
        replay.runs.append(
            worlds.Seen(
                losses=np.full(4, lucky),
                worth=lucky,
                good=False,
                params=dataclasses.replace(DEFAULT, lora_rank=rank),
            )
        )
    replay.rungs = {8: dict(enumerate((0.9, 1.1, 3.0)))}
    assert replay.chosen() == 0
    policies.confirming(replay, 2, 2)
    assert replay.chosen() == 1
    assert replay.spent == 4


def test_the_fitted_surface_gives_a_run_near_the_configurations_mean_with_the_luck_of_its_neighbours(
    modules: tuple[ModuleType, ModuleType],
) -> None:
    pytest.importorskip("sklearn")
    worlds, _ = modules
    table = worlds.load(TABLES / "demo.parquet")
    few = worlds.Table(
        params=table.params[:60],
        points=table.points[:60],
        losses=table.losses[:60],
        base=table.base,
        each={},
        tokens=table.tokens,
    )
    world = worlds.Fitted(worlds.Surface(few), seed=0)
    runs = [world.run(few.params[0]) for _ in range(40)]
    assert len({run.worth for run in runs}) == 1
    assert runs[0].worth == pytest.approx(np.exp(few.means[0, -1]), rel=0.1)
    assert len({float(run.losses[-1]) for run in runs}) > 10
    assert np.mean([run.losses[-1] for run in runs]) == pytest.approx(runs[0].worth, rel=0.1)
    assert world.best <= runs[0].worth
