"""The spread of the demo: whole trials over a grid of the ``tiny`` space, in packs, one process.

    python benchmarks/demo_grid.py [--slots 8]

Prints Markdown tables of the final eval loss, as docs/demo.md states them. No search, no pruning.
Each table varies what it shows around the frozen default config (trial 0 of a search).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from loratune.demo import data_path, model_path
from loratune.objectives.base import Done
from loratune.objectives.training.session import Session
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import PRESETS
from loratune.study.budget import ROUNDS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RATIOS = (0.5, 1.0, 2.0, 4.0)
RANKS = (2, 4, 8, 16)
BATCHES = (4, 8, 16, 32)
WARMUPS = (0.0, 0.03, 0.1)
SEEDS = (0, 1, 2)


def config(
    base: LoraParams,
    *,
    rate: float | None = None,
    ratio: float | None = None,
    rank: int | None = None,
    batch: int | None = None,
    warmup: float | None = None,
) -> LoraParams:
    """Return ``base`` with some values changed; alpha follows the rank."""
    rank = rank or base.lora_rank
    return dataclasses.replace(
        base,
        learning_rate=rate or base.learning_rate,
        lora_rank=rank,
        lora_alpha=rank * (ratio or base.scaling),
        batch_size=batch or base.batch_size,
        warmup_ratio=base.warmup_ratio if warmup is None else warmup,
    )


def measure(session: Session, wanted: Sequence[tuple[LoraParams, int]], slots: int) -> list[float]:
    """Return the final eval loss of each (params, seed); NaN for one that diverged."""
    losses = [math.nan] * len(wanted)
    for start in range(0, len(wanted), slots):
        members = range(start, min(start + slots, len(wanted)))
        for number in members:
            params, seed = wanted[number]
            session.add(number, params, seed=seed, attempt=1)
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(ROUNDS):
                (done,) = (news for news in session.train_round(Path(folder)) if isinstance(news, Done))
        for result in done.results:
            if result.eval_losses is not None and result.diverged is None:
                losses[result.trial] = sum(result.eval_losses) / sum(session.facts.eval_tokens)
        for number in members:
            session.remove(number)
    return losses


def table(corner: str, rows: Iterable[object], columns: Iterable[object], values: Sequence[float]) -> str:
    """Return a Markdown table; ``values`` row by row."""
    rows, columns = [_text(row) for row in rows], [_text(column) for column in columns]
    cells = iter("NaN" if math.isnan(value) else f"{value:.3f}" for value in values)
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | {' | '.join(next(cells) for _ in columns)} |" for row in rows]
    return "\n".join(lines)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--slots", type=int, default=8, help="trials in one pack (default 8)")
    slots = parser.parse_args().slots
    preset = PRESETS["tiny"]
    default = preset.default
    session = Session(
        ObjectiveConfig(
            model=ModelConfig(name_or_path=str(model_path()), device="cpu"),
            data=DataConfig(train=str(data_path())),
            batch_sizes=preset.space.batch_sizes(),
            lora_ranks=preset.space.lora_ranks(),
            lora_targets=preset.space.lora_targets(),
            slots=slots,
        )
    )
    facts = session.facts
    started = time.monotonic()
    trials = 0

    def run(wanted: Sequence[LoraParams], seeds: Sequence[int] = (0,)) -> list[float]:
        nonlocal trials
        trials += len(wanted) * len(seeds)
        return measure(session, [(params, seed) for params in wanted for seed in seeds], slots)

    print(f"base model {facts.base_loss:.3f}, uniform guess {math.log(facts.model.vocab_size):.3f}")
    budget = facts.budget
    print(f"{budget.examples} examples a trial, {budget.final_eval_examples} in the final evaluation")
    (at_default,) = run([default])
    print(f"default config {at_default:.3f}\n", flush=True)

    swept = [(rate, ratio) for rate in RATES for ratio in RATIOS]
    losses = run([config(default, rate=rate, ratio=ratio) for rate, ratio in swept])
    print(table("learning_rate \\ alpha/rank", RATES, RATIOS, losses) + "\n", flush=True)

    finite = [(loss, pair) for loss, pair in zip(losses, swept, strict=True) if not math.isnan(loss)]
    loss, (rate, ratio) = min(finite)
    best = config(default, rate=rate, ratio=ratio)
    print(f"At the best of these, learning_rate {rate:g} and alpha/rank {ratio:g} ({loss:.3f}):\n")
    losses = run([config(best, rank=rank, batch=batch) for rank in RANKS for batch in BATCHES])
    print(table("lora_rank \\ batch_size", RANKS, BATCHES, losses) + "\n", flush=True)
    losses = run([config(best, warmup=warmup) for warmup in WARMUPS], SEEDS)
    print(table("warmup_ratio \\ seed", WARMUPS, SEEDS, losses) + "\n", flush=True)

    seconds = time.monotonic() - started
    print(f"{trials} trials in {seconds:.0f} s, {trials * budget.examples / seconds:.0f} examples/s")
    session.close()


if __name__ == "__main__":
    main()
