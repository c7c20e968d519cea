"""Curves of many configurations under several seeds, to try search policies on.

    python benchmarks/tables/make.py demo --folder /tmp/tables [--configs 400] [--seeds 3] [--shard 0/2]
    python benchmarks/tables/make.py demo --folder /tmp/tables --pack benchmarks/tables/demo.parquet

Every trial is trained to its end, in packs, with no pruning, on the schedule that can go on: warm-up, hold,
decay. Level 0 is the shortest; each level after it is twice as long and goes on from where the level below
began its decay, as a search's promoted trials do. Finished trials are kept as lines in the folder, so a run
that was ended goes on; several shards share the work. ``--pack`` trains nothing and writes what is finished
as a Parquet file.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from loratune.spaces.params import LoraParams, from_searched
from loratune.spaces.presets import PRESETS
from loratune.study.budget import ROUNDS, RUNGS
from loratune.study.checkpoint_format import checkpoint_name
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

SCHEDULE = "warmup_stable_decay"
BEFORE_DECAY = 6
"""The round after which a trial's state is the one that a longer trial goes on from."""
SLOTS = 8
SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A model, its data, and how long a trial of level 0 is."""

    model: str
    data: str
    examples: int
    """Training examples of level 0."""
    eval_examples: int
    """Validation examples of every final loss."""
    batch_sizes: tuple[int, ...] = (4, 8, 16, 32)
    """Batch sizes of the space."""


def tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    from loratune import demo

    stories = str(SHARED / "models/stories260K")
    return {
        "demo": Task(
            model=str(demo.model_path()), data=str(demo.data_path()), examples=768, eval_examples=384
        ),
        "disfl_qa": Task(
            model=stories,
            data=str(SHARED / "data/disfl_qa/train_alpaca.jsonl"),
            examples=256,
            eval_examples=160,
            batch_sizes=(4, 8, 16),
        ),
        "sentence_polarity": Task(
            model=stories,
            data=str(SHARED / "data/sentence_polarity/sentence_polarity.csv"),
            examples=256,
            eval_examples=160,
            batch_sizes=(4, 8, 16),
        ),
    }


def configurations(
    count: int, scheduler: str, batch_sizes: tuple[int, ...], seed: int = 0
) -> list[LoraParams]:
    """Return the preset's default and ``count - 1`` points of a scrambled Sobol sequence in its space."""
    import torch

    preset = PRESETS["tiny"]
    names = [dimension.name for dimension in preset.space.dimensions]
    points = torch.quasirandom.SobolEngine(len(names), scramble=True, seed=seed).draw(count - 1).tolist()
    found = [preset.default]
    for point in points:
        values = {}
        for dimension, at in zip(preset.space.dimensions, point, strict=True):
            choices = getattr(dimension, "choices", None)
            if dimension.name == "batch_size":
                choices = batch_sizes
            if choices is not None:
                values[dimension.name] = choices[min(int(at * len(choices)), len(choices) - 1)]
            elif dimension.log:
                values[dimension.name] = float(dimension.low * (dimension.high / dimension.low) ** at)
            else:
                values[dimension.name] = float(dimension.low + (dimension.high - dimension.low) * at)
        found.append(from_searched(values))
    return [dataclasses.replace(params, lr_scheduler_type=scheduler) for params in found]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One trial to train."""

    config: int
    seed: int
    level: int
    scheduler: str = SCHEDULE
    nudge: float = 0.0
    """The learning rate is changed by this share, to see what a rounding does."""

    @property
    def key(self) -> str:
        """Its name among the finished."""
        return f"{self.scheduler}-{self.config}-{self.seed}-{self.level}-{self.nudge:g}"

    @property
    def anew(self) -> bool:
        """Whether it begins with nothing; only a held rate can go on."""
        return self.level == 0 or self.scheduler != SCHEDULE

    @property
    def below(self) -> Job:
        """The same trial a level down."""
        return dataclasses.replace(self, level=self.level - 1)


class Bench:
    """Trains jobs of one task and remembers which are finished."""

    def __init__(self, name: str, folder: Path, shard: tuple[int, int], configs: int) -> None:
        self.name, self.task, self.folder = name, tasks()[name], folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard = shard
        self.configs = configs
        self._session = None
        self._level: int | None = None

    def finished(self) -> dict[str, dict]:
        """Return all finished trials by key."""
        found = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            for line in path.read_text().splitlines():
                if line.endswith("}"):
                    row = json.loads(line)
                    found[row["key"]] = row
        return found

    def mine(self, job: Job) -> bool:
        """Whether this shard trains it; a trial stays with its shard on all levels."""
        index, count = self.shard
        return (job.config + job.seed) % count == index

    def checkpoint(self, job: Job) -> Path:
        """Where the state before its decay is kept."""
        return self.folder / "states" / f"{job.key}.safetensors"

    def run(self, jobs: list[Job]) -> None:
        """Train those jobs that are not finished."""
        done = self.finished()
        left = [job for job in jobs if self.mine(job) and job.key not in done]
        for level in sorted({job.level for job in left}):
            here = [job for job in left if job.level == level]
            here = [job for job in here if job.anew or self.checkpoint(job.below).exists()]
            packs = list(_packs(here))
            for number, together in enumerate(packs, start=1):
                began = time.monotonic()
                self._pack(together)
                print(
                    f"{self.name} level {level}: {number} of {len(packs)} packs, "
                    f"{time.monotonic() - began:.1f} s",
                    flush=True,
                )

    def _open(self, level: int):
        if self._level != level:
            import torch
            from loratune.objectives.training.session import Session

            torch.set_num_threads(1)
            if self._session is not None:
                self._session.close()
            config = ObjectiveConfig(
                model=ModelConfig(name_or_path=self.task.model, device="cpu"),
                data=DataConfig(train=self.task.data, columns=self._columns()),
                batch_sizes=self.task.batch_sizes,
                lora_ranks=(2, 4, 8, 16),
                lora_targets=("all",),
                examples=self.task.examples * 2**level,
                eval_examples=self.task.eval_examples,
                slots=SLOTS,
                cache_dir=str(self.folder / "cache"),
            )
            self._session, self._level = Session(config), level
        return self._session

    def _columns(self) -> tuple[str, ...] | None:
        if self.name != "sentence_polarity":
            return None
        return ("prompt=text", "completion=label")

    def _pack(self, jobs: list[Job]) -> None:
        from loratune.objectives.base import Done

        session = self._open(jobs[0].level)
        save_to = self.folder / f"running-{self.shard[0]}"
        save_to.mkdir(exist_ok=True)
        params = [self._params(job) for job in jobs]
        numbers = [job.config for job in jobs]
        if len(set(numbers)) < len(jobs):  # the number is in a checkpoint, so it is the configuration's
            raise SystemExit("a pack holds a configuration twice")
        for job, own in zip(jobs, params, strict=True):
            start = None if job.anew else self.checkpoint(job.below)
            session.add(job.config, own, seed=job.seed, attempt=1, resume_from=start)
        first = session._slots[0].rounds
        place = {number: index for index, number in enumerate(numbers)}
        curves: list[list[dict]] = [[] for _ in jobs]
        for at in range(first + 1, ROUNDS + 1):
            (done,) = [event for event in session.train_round(save_to) if isinstance(event, Done)]
            for result in done.results:
                row = {
                    "round": at,
                    "train": result.train_loss,
                    "norm": result.grad_norm,
                    "rate": result.learning_rate,
                    "diverged": result.diverged,
                }
                if result.eval_losses is not None:
                    losses = np.asarray(result.eval_losses, dtype=np.float32)
                    tokens = np.asarray(session.facts.eval_tokens[: len(losses)], dtype=np.float64)
                    row["loss"] = float(losses.sum(dtype=np.float64) / tokens.sum())
                    row["each"] = base64.b64encode(losses.astype(np.float16).tobytes()).decode()
                curves[place[result.trial]].append(row)
                if result.diverged is not None:
                    continue
                job = jobs[place[result.trial]]
                state = save_to / checkpoint_name(result.trial, at, 1)
                if at == BEFORE_DECAY and job.scheduler == SCHEDULE:
                    self.checkpoint(job).parent.mkdir(exist_ok=True)
                    state.replace(self.checkpoint(job))
                else:
                    state.unlink()
        for number in numbers:
            session.remove(number)
        with (self.folder / f"shard-{self.shard[0]}.jsonl").open("a") as file:
            for job, own, curve in zip(jobs, params, curves, strict=True):
                row = {
                    "key": job.key,
                    **dataclasses.asdict(job),
                    "params": own.to_dict(),
                    "examples": self.task.examples * 2**job.level,
                    "base": session.facts.base_loss,
                    "tokens": list(session.facts.eval_tokens),
                    "curve": curve,
                }
                file.write(json.dumps(row) + "\n")

    def _params(self, job: Job) -> LoraParams:
        own = configurations(self.configs, job.scheduler, self.task.batch_sizes)[job.config]
        return dataclasses.replace(own, learning_rate=own.learning_rate * (1 + job.nudge))


def _packs(jobs: list[Job]) -> Iterator[list[Job]]:
    """Yield jobs in packs, none of which holds a configuration twice."""
    together: list[Job] = []
    for job in jobs:
        if len(together) == SLOTS or job.config in {other.config for other in together}:
            yield together
            together = []
        together.append(job)
    if together:
        yield together


def noise_jobs(random: int) -> Iterator[Job]:
    """Yield what shows noise and schedule: three seeds, a nudge, and cosine beside hold and decay."""
    for seed in range(3):
        yield from (Job(config=config, seed=seed, level=0) for config in range(random))
    for seed in range(3):
        yield from (
            Job(config=config, seed=seed, level=0, scheduler="cosine") for config in range(random // 2)
        )
    yield from (Job(config=config, seed=0, level=0, nudge=1e-6) for config in range(random // 2))


def pack(bench: Bench, to: Path) -> None:
    """Write every finished trial as a row of a Parquet file.

    The losses of single examples, as float16, are kept of the shortest trials at the rungs that may stop one;
    the target tokens of those examples are in the file's metadata.
    """
    import pyarrow
    import pyarrow.parquet

    rows = []
    for found in bench.finished().values():
        row = {name: found[name] for name in ("config", "seed", "level", "nudge", "examples", "base")}
        row |= {**found["params"], "scheduler": found["scheduler"]}
        curve = found["curve"]
        tokens = np.asarray(found["tokens"], dtype=np.float64)
        for rung in RUNGS:
            row[f"loss_{rung}"] = None
        for rung in RUNGS[:-1]:
            row[f"each_{rung}"] = None
        for point in curve:
            if "each" in point and point["diverged"] is None:
                each = base64.b64decode(point["each"])
                losses = np.frombuffer(each, np.float16).astype(np.float64)
                row[f"loss_{point['round']}"] = float(losses.sum() / tokens[: len(losses)].sum())
                if found["level"] == 0 and f"each_{point['round']}" in row:
                    row[f"each_{point['round']}"] = each
        row |= {"train": [point["train"] for point in curve], "norm": [point["norm"] for point in curve]}
        rows.append(row)
    rows.sort(key=lambda row: (row["scheduler"], row["level"], row["seed"], row["config"], row["nudge"]))
    table = pyarrow.Table.from_pylist(rows).replace_schema_metadata({"tokens": json.dumps(tokens.tolist())})
    pyarrow.parquet.write_table(table, to, compression="zstd")
    print(f"{to}: {len(rows)} trials")


def good_of(bench: Bench, count: int, seed: int = 0) -> list[int]:
    """Return the configurations of the lowest loss at level 0 under that seed."""
    rows = [
        (row["curve"][-1].get("loss", float("inf")), row["config"])
        for row in bench.finished().values()
        if row["level"] == 0 and row["seed"] == seed and row["scheduler"] == SCHEDULE and not row["nudge"]
    ]
    return [config for _, config in sorted(rows)[:count]]


def main() -> None:
    """Train what is not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=sorted(tasks()))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--configs", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--long", type=int, default=12, help="random and good configurations each that go on")
    parser.add_argument("--noise", type=int, default=48, help="configurations under three seeds first")
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--pack", type=Path, help="write what is finished into this file")
    arguments = parser.parse_args()
    index, count = arguments.shard.split("/")
    bench = Bench(arguments.task, arguments.folder, (int(index), int(count)), arguments.configs)
    if arguments.pack is not None:
        pack(bench, arguments.pack)
        return
    own = range(arguments.configs)
    bench.run(list(noise_jobs(arguments.noise)))
    bench.run([Job(config=config, seed=0, level=0) for config in own[: len(own) // 2]])
    # Both shards must choose the same, so whoever comes first waits for the other.
    while len(good_of(bench, arguments.configs)) < len(own) // 2:
        time.sleep(5)
    chosen_file = bench.folder / "long.json"
    if not chosen_file.exists():
        good = good_of(bench, 3 * arguments.long)
        new = [config for config in good if config >= arguments.long][: arguments.long]
        chosen_file.write_text(json.dumps([*range(arguments.long), *new]))
    chosen = json.loads(chosen_file.read_text())
    for seed in range(arguments.seeds):
        for level in range(arguments.levels + 1):
            bench.run([Job(config=config, seed=seed, level=level) for config in chosen])
    for seed in range(arguments.seeds):
        bench.run([Job(config=config, seed=seed, level=0) for config in own])


if __name__ == "__main__":
    main()
