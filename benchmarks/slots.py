"""Rows per second of one worker by the number of trials in its pack: what a slot is worth.

    python benchmarks/slots.py                       the embedded demo
    python benchmarks/slots.py --real                stories260K on disfl_qa, from ../shared
    python benchmarks/slots.py --ranks 8 16 32 64    what rank groups save where these ranks share a pack

One process, one thread, and processor time instead of the clock, so that a busy machine matters little.
A row is one example of one trial: forward, backward and its share of the optimizer step and of a checkpoint.
Training is measured over the rounds that end without an evaluation, evaluation over the difference to those
that end with one. At every K the largest weight matrix of the base is looked for among the tensors that
Python knows of: those of its shape and its values, in its number type.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from loratune.demo import data_path, model_path
from loratune.objectives.training.batches import collate, repeated
from loratune.objectives.training.pack import Pack
from loratune.objectives.training.preparation import prepare
from loratune.objectives.training.session import Session
from loratune.objectives.training.stream import Stream
from loratune.spaces.presets import PRESETS
from loratune.study.budget import ROUNDS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
REAL_MODEL = SHARED / "models" / "stories260K"
REAL_DATA = SHARED / "data" / "disfl_qa" / "train_alpaca.jsonl"


def measure(session: Session, slots: int, numbers: range) -> tuple[float, float]:
    """Return training rows per second and evaluation rows per second of a full pack of ``slots``."""
    params = PRESETS["tiny"].default
    for number in numbers:
        session.add(number, params, seed=0, attempt=1)
    budget = session.facts.budget
    train: list[float] = []
    evaluated, evaluated_rows = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        # The first round warms up.
        for round_number in range(1, ROUNDS + 1):
            began = time.process_time()
            for _ in session.train_round(Path(folder)):
                pass
            seconds = time.process_time() - began
            rows = budget.eval_size(round_number)
            if round_number == 1:
                continue
            if rows == 0:
                train.append(seconds)
            else:
                evaluated, evaluated_rows = evaluated + seconds, evaluated_rows + rows
    for number in numbers:
        session.remove(number)
    ordinary = statistics.median(train)
    evaluating = max(evaluated - 3 * ordinary, 1e-9)  # rounds 2, 4 and 8
    return slots * budget.round_examples / ordinary, slots * evaluated_rows / evaluating


def beside_rank_max(config: ObjectiveConfig, ranks: list[int], repeats: int) -> None:
    """Print what a micro-step takes with each trial at its rank group, and with all at the highest rank."""
    prepared = prepare(config)
    prepared.pack.close()
    facts, base = prepared.facts, prepared.base
    longest = sorted(facts.geometry.micro_step_lengths)[facts.budget.micro_steps // 2]
    examples = Stream(prepared.data.train.lengths, facts.budget, 0).ranked(0)[facts.budget.micro_steps // 2]
    slots = config.slots or len(ranks)
    batch = repeated(collate(prepared.data.train, [examples], longest, base.device), slots)
    packs = {}
    for name, groups in (("to the highest rank", ()), ("to rank groups", facts.geometry.rank_groups)):
        pack = Pack(base, dataclasses.replace(facts.geometry, rank_groups=groups), slots)
        for slot in range(slots):
            rank = ranks[slot % len(ranks)]
            pack.add(dataclasses.replace(PRESETS["tiny"].default, lora_rank=rank, lora_alpha=2.0 * rank), 0)
        pack.arrange([0] * slots)
        pack.accumulate(batch, [None] * slots)
        packs[name] = pack, list[float]()
    for _ in range(repeats):
        for pack, seconds in packs.values():
            began = time.process_time()
            for _ in range(10):
                pack.accumulate(batch, [None] * slots)
            seconds.append((time.process_time() - began) / 10)
    tokens = batch.tokens.numel() // slots
    shapes = [(layer.in_features, layer.out_features) for layer in pack.layout.layers]
    print(f"{slots} trials of ranks {', '.join(map(str, ranks))} in turn, {tokens} tokens each\n")
    print(
        "| adapters computed | their multiply-adds | those of the base's wrapped layers | ms | of the first |"
    )
    print("|---|---|---|---|---|")
    first = packs["to the highest rank"][1]
    for name, (pack, seconds) in packs.items():
        # Forward: A, B. Backward: through B and A, and the gradients of both.
        ours = 3 * tokens * sum(pack.groups) * sum(inputs + outputs for inputs, outputs in shapes)
        theirs = 2 * tokens * slots * sum(inputs * outputs for inputs, outputs in shapes)
        share = statistics.median(one / other for one, other in zip(seconds, first, strict=True))
        cells = (
            name,
            f"{ours / 1e6:.0f} M",
            f"{theirs / 1e6:.0f} M",
            f"{1e3 * statistics.median(seconds):.1f}",
        )
        print(f"| {' | '.join(cells)} | {share:.2f} |")
        pack.close()


def copies_of_base() -> int:
    """Return how many tensors in memory hold the values of the base's largest weight matrix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # to ask some objects of torch for their class is deprecated
        modules = [thing for thing in gc.get_objects() if isinstance(thing, torch.nn.Module)]
        tensors = [thing for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
    (model,) = (module for module in modules if type(module).__name__.endswith("ForCausalLM"))
    largest = max(model.parameters(), key=torch.Tensor.numel).detach()
    alike = (one for one in tensors if one.shape == largest.shape and torch.equal(one.detach(), largest))
    return len({one.untyped_storage().data_ptr() for one in alike})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--real", action="store_true", help="stories260K on disfl_qa; skips without ../shared"
    )
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="packs to measure")
    parser.add_argument("--ranks", type=int, nargs="+", help="measure rank groups with these ranks")
    parser.add_argument(
        "--examples", type=int, default=512, help="training examples of a trial (default 512)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="rounds over all packs (default 3)")
    arguments = parser.parse_args()
    if arguments.real and not REAL_DATA.exists():
        print(f"skipped: {REAL_DATA} is not there")
        return
    torch.set_num_threads(1)
    space = PRESETS["tiny"].space
    model, data = (REAL_MODEL, REAL_DATA) if arguments.real else (model_path(), data_path())
    config = ObjectiveConfig(
        model=ModelConfig(name_or_path=str(model), device="cpu"),
        data=DataConfig(train=str(data)),
        batch_sizes=space.batch_sizes(),
        lora_ranks=space.lora_ranks(),
        lora_targets=space.lora_targets(),
        examples=arguments.examples,
        slots=max(arguments.slots),
    )
    if arguments.ranks:
        ranks = tuple(arguments.ranks)
        beside_rank_max(dataclasses.replace(config, lora_ranks=ranks, slots=8), arguments.ranks, 12)
        return
    session = Session(config)
    facts = session.facts
    rows: dict[int, list[tuple[float, float]]] = {slots: [] for slots in arguments.slots}
    copies: dict[int, int] = {}
    number = 0
    for _ in range(arguments.repeats):
        for slots in arguments.slots:
            rows[slots].append(measure(session, slots, range(number, number + slots)))
            number += slots
            copies[slots] = copies_of_base()
    session.close()
    print(
        f"{Path(model).name} on {Path(data).name}: one thread, rank {facts.geometry.rank_max} at most, "
        f"m = {facts.budget.micro_batch}, micro-steps of {min(facts.geometry.micro_step_lengths)} to "
        f"{max(facts.geometry.micro_step_lengths)} tokens, "
        f"base weights {facts.memory.base_bytes / 2**20:.1f} MiB\n"
    )
    print("| K | training rows/s | of K = 1 | evaluation rows/s | the base in memory |")
    print("|---|---|---|---|---|")
    alone = statistics.median(train for train, _ in rows[arguments.slots[0]])
    for slots, measured in rows.items():
        train = statistics.median(one for one, _ in measured)
        evaluation = statistics.median(one for _, one in measured)
        times = f"{copies[slots]} time{'' if copies[slots] == 1 else 's'}"
        print(f"| {slots} | {train:.0f} | {train / alone:.2f} | {evaluation:.0f} | {times} |")


if __name__ == "__main__":
    main()
