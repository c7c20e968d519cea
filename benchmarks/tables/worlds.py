"""What a search may meet on a table: which losses a proposed configuration has, and what it is worth.

Two answers. ``Nearest``: a proposal becomes the nearest configuration that was not taken yet, its losses are
those that were trained. ``Fitted``: a Gaussian process through all configurations gives the mean losses of
any point, and a neighbour's departure from its own mean, at all rungs together, is the luck of the run.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from loratune.spaces.params import LoraParams
from loratune.study.budget import RUNGS

SEEDS = 3
WEIGHTS = np.array([3.0, 1.0, 1.0, 1.0, 0.3])
"""How much a difference in each dimension counts; mostly the learning rate's."""
NEIGHBOURS = 12
"""From among so many near configurations a run's luck is taken."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """One run of a configuration."""

    losses: np.ndarray
    """``[4]`` eval losses at the rungs."""
    worth: float
    """The configuration's mean final loss over other runs than this one."""
    good: bool
    """Whether the configuration belongs to the best tenth."""
    params: LoraParams
    """What was trained: the proposal, or what stands for it."""
    each: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)
    """By rung, the summed loss of each evaluation example, where they are known."""


class World(Protocol):
    """Where a replayed search runs its trials."""

    best: float
    """The least worth of all."""
    tokens: np.ndarray
    """Target tokens of the evaluation examples."""
    default: LoraParams
    """What trial 0 is."""

    def run(self, params: LoraParams) -> Seen | None:
        """Return a run of a configuration; None where there is none left."""

    def again(self, params: LoraParams) -> Seen:
        """Return another run of a configuration that was run, under another seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Trained curves of one task at one length."""

    params: list[LoraParams]
    """Of each configuration; the first is the default."""
    points: np.ndarray
    """``[c, 5]`` the same in the unit cube."""
    losses: np.ndarray
    """``[c, seeds, 4]`` eval losses at the rungs; NaN where not trained, infinite where it diverged."""
    base: float
    """The base model's loss: what a run that broke down counts as."""
    each: Mapping[tuple[int, int], Mapping[int, np.ndarray]]
    """By configuration and seed, then by rung: the summed loss of each evaluation example."""
    tokens: np.ndarray
    """Target tokens of the evaluation examples."""

    @functools.cached_property
    def bounded(self) -> np.ndarray:
        """``[c, seeds, 4]`` the same, none above the base model's."""
        return np.minimum(self.losses, self.base)

    @functools.cached_property
    def means(self) -> np.ndarray:
        """``[c, 4]`` the mean logarithm of the losses over those seeds that were trained."""
        return np.nanmean(np.log(self.bounded), axis=1)


def unit(params: LoraParams) -> list[float]:
    """Return a configuration as a point of the unit cube, on the scales that are searched."""
    return [
        (np.log(params.learning_rate) - np.log(3e-4)) / (np.log(1e-1) - np.log(3e-4)),
        (np.log2(params.batch_size) - 2) / 3,
        (np.log2(params.lora_rank) - 1) / 3,
        (params.scaling - 0.5) / 3.5,
        params.warmup_ratio / 0.1,
    ]


def load(path: Path, level: int = 0) -> Table:
    """Read the table of one task at one length."""
    import pyarrow.parquet

    read = pyarrow.parquet.read_table(path)
    tokens = np.array(json.loads((read.schema.metadata or {}).get(b"tokens", b"[]")))
    rows = read.to_pylist()
    rows = [row for row in rows if row["level"] == level and row["scheduler"] == "warmup_stable_decay"]
    rows = [row for row in rows if not row["nudge"]]
    names = [field.name for field in dataclasses.fields(LoraParams)]
    configs = sorted({row["config"] for row in rows})
    place = {config: index for index, config in enumerate(configs)}
    params: list[LoraParams | None] = [None] * len(configs)
    losses = np.full((len(configs), SEEDS, len(RUNGS)), np.nan)
    each = {}
    for row in rows:
        index = place[row["config"]]
        # What the preset's space holds: the schedule is the same for all, and no part of it.
        params[index] = LoraParams(
            **{name: row[name] for name in names if name in row} | {"lr_scheduler_type": "cosine"}
        )
        curve = [row[f"loss_{rung}"] for rung in RUNGS]
        losses[index, row["seed"]] = [np.inf if loss is None else loss for loss in curve]
        each[index, row["seed"]] = {
            rung: np.frombuffer(row[f"each_{rung}"], np.float16).astype(np.float64)
            for rung in RUNGS[:-1]
            if row.get(f"each_{rung}") is not None
        }
    made = [one for one in params if one is not None]
    return Table(
        params=made,
        points=np.array([unit(one) for one in made]),
        losses=losses,
        base=float(rows[0]["base"]),
        each=each,
        tokens=tokens,
    )


class Nearest:
    """See ``World``; a search takes each configuration once, under a seed that all were trained under."""

    def __init__(self, table: Table, seed: int) -> None:
        self.table = table
        everywhere = np.flatnonzero(~np.isnan(table.losses[:, :, -1]).any(axis=0))
        self.observed = int(everywhere[seed % len(everywhere)])
        self._free = np.ones(len(table.params), dtype=bool)
        others = np.delete(table.bounded[:, :, -1], self.observed, axis=1)
        alone = np.isnan(others).all(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            self._worth = np.where(alone, table.bounded[:, self.observed, -1], np.nanmean(others, axis=1))
        self.best = float(np.nanmin(np.nanmean(table.bounded[:, :, -1], axis=1)))
        self._top = set(np.argsort(self._worth)[: len(self._worth) // 10].tolist())
        self.default, self.tokens = table.params[0], table.tokens

    def run(self, params: LoraParams) -> Seen | None:
        """Take the nearest free configuration."""
        if not self._free.any():
            return None
        distance = ((self.table.points - np.array(unit(params))) ** 2 * WEIGHTS).sum(axis=1)
        distance[~self._free] = np.inf
        index = int(distance.argmin())
        self._free[index] = False
        return self._seen(index, self.observed)

    def again(self, params: LoraParams) -> Seen:  # noqa: ARG002
        """Refuse: with three seeds there would be none left to say what the chosen one is worth."""
        raise SystemExit("confirming needs the fitted world")

    def _seen(self, index: int, seed: int) -> Seen:
        return Seen(
            losses=self.table.losses[index, seed],
            worth=float(self._worth[index]),
            good=index in self._top,
            params=self.table.params[index],
            each=self.table.each[index, seed],
        )


class Surface:
    """The Gaussian process of a table: made once, asked by many worlds."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._models = [_process(table.points, table.means[:, rung]) for rung in range(len(RUNGS))]
        probe = np.random.default_rng(0).random((20_000, table.points.shape[1]))
        probe[:, 1], probe[:, 2] = np.round(probe[:, 1] * 3) / 3, np.round(probe[:, 2] * 3) / 3
        allowed = np.unique(table.points[:, 1])
        probe = probe[np.isin(probe[:, 1].round(6), allowed.round(6))]
        final = np.exp(self._models[-1].predict(probe))
        self.best, self.good = float(final.min()), float(np.quantile(final, 0.1))
        logs = np.log(table.bounded)
        self.luck = logs - table.means[:, None]
        """``[c, seeds, 4]`` how far each run departs from its configuration's mean."""
        trained = (~np.isnan(logs[:, :, -1])).sum(axis=1)
        self.luck *= np.sqrt(trained / np.maximum(trained - 1, 1))[:, None, None]
        self.several = trained > 1

    def means(self, point: np.ndarray) -> np.ndarray:
        """Return ``[4]`` the mean logarithm of the losses at a point."""
        return np.array([model.predict(point[None])[0] for model in self._models])


def _process(points: np.ndarray, values: np.ndarray):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(
        length_scale=[0.3, 1.0, 1.0, 1.0, 2.0], length_scale_bounds=(0.03, 30.0), nu=2.5
    ) + WhiteKernel(1e-3, (1e-6, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(points, values)


def surface_error(table: Table, parts: int = 10) -> dict[str, float]:
    """Return how far the process is off at configurations that it was not fitted to."""
    from scipy.stats import spearmanr

    order = np.random.default_rng(0).permutation(len(table.points))
    found = np.zeros(len(order))
    for part in range(parts):
        out = order[part::parts]
        rest = np.setdiff1d(order, out)
        found[out] = _process(table.points[rest], table.means[rest, -1]).predict(table.points[out])
    true = table.means[:, -1]
    good = true <= np.quantile(true, 0.25)
    return {
        "median": float(np.median(np.abs(np.exp(found - true) - 1))),
        "median of the best quarter": float(np.median(np.abs(np.exp(found - true) - 1)[good])),
        "rank correlation": float(spearmanr(found, true)[0]),
        "of the best quarter": float(spearmanr(found[good], true[good])[0]),
    }


class Fitted:
    """See ``World``; any point can be run, as often as is wished."""

    def __init__(self, surface: Surface, seed: int) -> None:
        self._surface = surface
        self._rng = np.random.default_rng([seed, 7])
        self.best = surface.best
        self.default, self.tokens = surface.table.params[0], surface.table.tokens

    def run(self, params: LoraParams) -> Seen:
        """Draw a run."""
        point = np.array(unit(params))
        means = self._surface.means(point)
        worth = float(np.exp(means[-1]))
        losses = np.exp(means + self._luck(point))
        return Seen(losses=losses, worth=worth, good=worth <= self._surface.good, params=params)

    again = run

    def _luck(self, point: np.ndarray) -> np.ndarray:
        surface = self._surface
        distance = ((surface.table.points - point) ** 2 * WEIGHTS).sum(axis=1)
        distance[~surface.several] = np.inf
        near = np.argsort(distance)[:NEIGHBOURS]
        index = int(self._rng.choice(near))
        trained = np.flatnonzero(~np.isnan(surface.luck[index, :, -1]))
        return surface.luck[index, int(self._rng.choice(trained))]
