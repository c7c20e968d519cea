"""Search policies replayed on trained curves: what a policy chooses, and what that is worth.

    python benchmarks/tables/replay.py benchmarks/tables/demo.parquet [--budget 30] [--world nearest]

Samplers and pruners are the search's own, asked as a search asks them, with K trials in flight; what they
cost is counted in full trials. What a proposal meets is in ``worlds.py``. The score is the regret: the worth
of what was chosen, less the best worth there is.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
from policies import OPTUNAS, Replay, policies
from worlds import Fitted, Nearest, Surface, Table, World, load, surface_error

_TABLE: Table | None = None
_SURFACE: Surface | None = None


def one(name: str, seed: int, budget: float) -> tuple[float, float, int, float, int]:
    """Return the regret, what was spent, how many trials began, and how many of the best tenth were stopped
    and met."""
    assert _TABLE is not None
    world: World = Nearest(_TABLE, seed) if _SURFACE is None else Fitted(_SURFACE, seed)
    replay = Replay(world, seed=seed, budget=budget)
    policies()[name](replay)
    met = [trial for trial, run in enumerate(replay.runs) if run.good]
    stopped = [trial for trial in met if replay.state[trial] == "pruned"]
    regret = replay.runs[replay.chosen()].worth - world.best
    return regret, replay.spent, len(replay.runs), len(stopped), len(met)


def _begin(path: Path, level: int, world: str) -> None:
    global _TABLE, _SURFACE
    _TABLE = load(path, level)
    _SURFACE = Surface(_TABLE) if world == "fitted" else None


def main() -> None:
    """Replay every policy under many seeds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--budget", type=float, default=30.0, help="full trials, in equal examples")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--level", type=int, default=0)
    parser.add_argument("--world", choices=["fitted", "nearest"], default="fitted")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--policy", action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    table = load(arguments.table, arguments.level)
    trained = (~np.isnan(table.losses[:, :, -1])).sum(axis=0).tolist()
    print(f"{len(table.params)} configurations, {trained} of them under seeds 0, 1, 2")
    if arguments.world == "fitted":
        print("the fitted surface, ten parts in turn left out: ", end="")
        print(", ".join(f"{name} {value:.3f}" for name, value in surface_error(table).items()))
    print(f"\n{arguments.budget:g} full trials' worth of examples, {arguments.seeds} seeds")
    print(
        "\n| policy | regret, median | its quartiles | mean | less than Optuna's default by | trials begun "
        "| of the best tenth stopped | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    beside: np.ndarray | None = None
    with multiprocessing.get_context("spawn").Pool(
        arguments.processes, _begin, (arguments.table, arguments.level, arguments.world)
    ) as pool:
        for name in arguments.policy or policies():
            began = time.monotonic()
            runs = [(name, seed, arguments.budget) for seed in range(arguments.seeds)]
            found = np.array(pool.starmap(one, runs))
            beside = found[:, 0] if name == OPTUNAS else beside
            print(f"| {name} | {row(found, beside)} | {time.monotonic() - began:.0f} |", flush=True)


def row(found: np.ndarray, beside: np.ndarray | None) -> str:
    """Return a policy's cells; the difference is that of the means, paired by seed, with a 95 % interval."""
    regret = found[:, 0]
    low, middle, high = np.percentile(regret, [25, 50, 75])
    less = ""
    if beside is not None and beside is not regret and len(regret) > 1:
        gain = beside - regret
        error = gain.std(ddof=1) / len(gain) ** 0.5
        less = f"{gain.mean():.4f} ({gain.mean() - 2 * error:.4f} to {gain.mean() + 2 * error:.4f})"
    return (
        f"{middle:.4f} | {low:.4f} to {high:.4f} | {regret.mean():.4f} | {less} | {found[:, 2].mean():.0f} | "
        f"{found[:, 3].sum() / max(1, found[:, 4].sum()):.0%}"
    )


if __name__ == "__main__":
    main()
