"""How much of what goes through the model is padding: by how the training examples are ordered.

    python benchmarks/padding.py                     the demo's data, and made-up lengths with a long tail
    python benchmarks/padding.py --real              disfl_qa in stories260K's tokens too, from ../shared

A micro-step is padded to the longest example that any round of eight seeds puts at its rank, so that shapes
never hang on what trains beside a trial. *Shuffled* is the order of studies of before; in today's, *even*,
every round has short and long examples in the data's shares. Prints the tokens that are real as a share of
the positions that are computed, and what a trainer that pads each batch to its own longest computes of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from loratune.demo import data_path, model_path
from loratune.objectives.data.dataset import load_data
from loratune.objectives.training.stream import LENGTH_MULTIPLE_CPU, Indices, Stream, micro_step_lengths
from loratune.study.budget import MAX_EPOCHS, ROUNDS, Budget
from loratune.study.config import DataConfig
from transformers import AutoTokenizer

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL = SHARED / "data" / "disfl_qa" / "train_alpaca.jsonl"
MICRO_BATCH = 4


def budget_of(round_examples: int, *, even: bool) -> Budget:
    """Return a budget of rounds of so many examples."""
    return Budget(
        micro_batch=MICRO_BATCH,
        round_examples=round_examples,
        batch_sizes=(MICRO_BATCH,),
        eval_examples=16,
        final_eval_examples=16,
        even_lengths=even,
    )


def shares(lengths: Indices, budget: Budget) -> tuple[float, float]:
    """Return real tokens, and those with each batch's own padding, as shares of the positions of a trial."""
    stream = Stream(lengths, budget, seed=0)
    batches = [lengths[stream.round(index)] for index in range(ROUNDS)]
    padded = sum(micro_step_lengths(lengths, budget, 0, LENGTH_MULTIPLE_CPU)) * MICRO_BATCH * ROUNDS
    real = sum(int(batch.sum()) for batch in batches)
    own = sum(int(batch.max(axis=1).sum()) * MICRO_BATCH for batch in batches)
    return real / padded, own / padded


def long_tailed(count: int) -> Indices:
    """Return made-up lengths, as instructions with their answers have them: most short, a few long."""
    drawn = np.random.default_rng(0).lognormal(4.2, 0.8, count)
    return np.minimum(1024, 20 + drawn).astype(np.int64)


def data_sets(*, real: bool) -> Iterator[tuple[str, Indices]]:
    """Yield names and lengths of training sets."""
    chosen = [("the demo", model_path(), data_path())]
    if real:
        chosen.append(("disfl_qa", SHARED / "models" / "stories260K", REAL))
    for name, model, file in chosen:
        tokenizer = AutoTokenizer.from_pretrained(str(model))
        yield name, load_data(DataConfig(train=str(file)), tokenizer, cache_dir=None).train.lengths
    yield "a long tail, made up", long_tailed(50_000)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--real", action="store_true", help="disfl_qa too; skips without ../shared")
    arguments = parser.parse_args()
    if arguments.real and not REAL.exists():
        print(f"skipped: {REAL} is not there")
        return
    print(
        "| lengths | examples | a round | real, shuffled | even | of a batch's own padding, shuffled | even |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, lengths in data_sets(real=arguments.real):
        for size in (96, 192, 384):
            if size * ROUNDS > MAX_EPOCHS * len(lengths):
                continue
            before, now = (shares(lengths, budget_of(size, even=even)) for even in (False, True))
            print(
                f"| {name} | {len(lengths):,} | {size} | {before[0]:.3f} | {now[0]:.3f} "
                f"| {before[1]:.3f} | {now[1]:.3f} |"
            )


if __name__ == "__main__":
    main()
