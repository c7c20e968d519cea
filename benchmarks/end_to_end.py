"""Equal examples in all, up to one trained model: a search that climbs, a grid, Optuna's default.

    python benchmarks/end_to_end.py demo --examples 107520 [--folder DIR] [--seeds 0 1 2]
    python benchmarks/end_to_end.py disfl_qa --examples 20480
    python benchmarks/end_to_end.py sentence_polarity --examples 20480

Three ways to spend the same number of training examples:

    climb     tune search --examples-in-all N: search, steps, final run, as a user types it
    grid      five learning rates, spread evenly in log over the preset's range, N/5 each, all else default
    optuna    TPE and the median pruner on about half of N, then its best trained anew on what is left

Each is chosen on validation and measured on the locked test set, which no part of any of them has seen;
paired intervals over its examples, a seed each and over seeds and examples together. Grid and full run use
the preset's cosine schedule. What each spent is printed. Runs that are there in the folder are not made
again, so that two processes may make some of the seeds each, and one of them print all.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loratune.app.following import follow
from loratune.app.options import RunOptions
from loratune.app.unlocking import open_test
from loratune.demo import data_path, model_path
from loratune.reports.crossed import Estimate, over_both
from loratune.reports.paired import Interval, paired_interval
from loratune.storage.store import Store
from loratune.study.locked_set import KIND, opening_of
from loratune.study.ranking import best_trial
from loratune.study.records import Evaluation, StudyRecord
from loratune.study.stage import Entry, Stage

POINTS = 5
DEFAULT = ("--sampler", "tpe", "--pruner", "median")
"""Optuna's default sampler and pruner."""
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """How one way ended."""

    name: str
    examples: int
    """Training examples in all."""
    final: int
    """Of the trial that was chosen."""
    params: dict[str, object]
    validation: float
    test: Evaluation
    seconds: float


def flags(task: str) -> list[str]:
    """Return what names a task's model and data."""
    if task == "demo":
        return ["--model", str(model_path()), "--data", str(data_path())]
    data = {
        "disfl_qa": SHARED / "data/disfl_qa/train_alpaca.jsonl",
        "sentence_polarity": SHARED / "data/sentence_polarity/sentence_polarity.csv",
    }[task]
    found = ["--model", str(SHARED / "models/stories260K"), "--data", str(data)]
    return [*found, "--columns", "prompt=text,completion=label"] if task == "sentence_polarity" else found


def tune(*words: str) -> None:
    """Run the command; its lines go to the terminal."""
    subprocess.run([sys.executable, "-m", "loratune", *words], check=True, env=None)


def trained(store: Store, study: StudyRecord) -> int:
    """Return the training examples of a study."""
    return len(store.curve(study.id)) * study.facts.budget.round_examples


def finish(store: Store, name: str, study: StudyRecord, examples: int, seconds: float) -> Way:
    """Open the test set for a study's best trial, once."""
    best = best_trial(store.trials(study.id))
    if best is None:
        raise SystemExit(f"{name}: no trial of {study.name} came to its end")
    if not store.events(study.id, KIND):
        open_test(store, study, [best], recommended=best.number)
    opened = opening_of(store.events(study.id, KIND)[-1])
    assert best.value is not None
    return Way(
        name=name,
        examples=examples,
        final=study.facts.budget.examples,
        params=best.params.to_dict(),
        validation=best.value,
        test=opened.evaluations[best.number],
        seconds=seconds,
    )


def climb(task: str, examples: int, folder: Path, seed: int) -> Way:
    """Search up to a trained model, as a user types it."""
    began, where = time.monotonic(), str(folder / "climb.db")
    words = ("--study", "climb", "--seed", str(seed), "--storage", where)
    tune("search", *flags(task), "--examples-in-all", str(examples), *words)
    with Store.open(where, mode="write") as store:
        studies = [store.study(head.name) for head in store.studies()]
        spent = sum(trained(store, study) for study in studies)
        # The last step's one trial, unless that went wrong: then the best that came to its end below it.
        last = next(one for one in reversed(studies) if best_trial(store.trials(one.id)) is not None)
        return finish(store, "climb", last, spent, time.monotonic() - began)


def plain_study(task: str, folder: Path, seed: int, trials: int, *more: str) -> None:
    """Make or go on with the plain search that grid and full run follow from."""
    words = ("--study", "plain", "--seed", str(seed), "--storage", str(folder / "plain.db"))
    tune("search", *flags(task), "--trials", str(trials), *words, *more)


def optuna(task: str, examples: int, folder: Path, seed: int) -> Way:
    """TPE and the median pruner on half, then the best trained on what is left."""
    began = time.monotonic()
    trials = 8
    while True:
        plain_study(task, folder, seed, trials, *DEFAULT)
        with Store.open(str(folder / "plain.db"), mode="write") as store:
            study = store.study("plain")
            spent, trial = trained(store, study), study.facts.budget.examples
            done = len(store.trials(study.id))
            if spent >= 0.45 * examples or done < trials:
                break
            trials = done + max(1, int((0.5 * examples - spent) / trial))
    with Store.open(str(folder / "plain.db"), mode="write") as store:
        best = best_trial(store.trials(study.id))
        assert best is not None, "the default is never stopped"
        left = examples - spent
        entry = Entry(params=best.params, seed=study.config.objective.seed, trial=best.number)
        follow(
            store,
            study,
            Stage(kind="train", parent="plain", entries=(entry,)),
            name="plain.full",
            examples=rounded_down(study, left),
            eval_examples=study.facts.budget.final_eval_examples,
            run=RunOptions(),
        )
        full = store.study("plain.full")
        return finish(store, "optuna", full, spent + trained(store, full), time.monotonic() - began)


def grid(task: str, examples: int, folder: Path, seed: int) -> Way:
    """Five learning rates at a fifth each, with the model, data and seed of a plain search."""
    began = time.monotonic()
    plain_study(task, folder, seed, 8, *DEFAULT)
    with Store.open(str(folder / "plain.db"), mode="write") as store:
        study = store.study("plain")
        low, high = (float(end) for end in study.config.space["learning_rate"].bounds)
        rates = [low * (high / low) ** (point / (POINTS - 1)) for point in range(POINTS)]
        entries = tuple(
            Entry(
                params=dataclasses.replace(study.config.first[0], learning_rate=rate),
                seed=study.config.objective.seed,
                trial=0,
            )
            for rate in rates
        )
        follow(
            store,
            study,
            Stage(kind="train", parent="plain", entries=entries),
            name="plain.grid",
            examples=rounded_down(study, examples // POINTS),
            eval_examples=study.facts.budget.final_eval_examples,
            run=RunOptions(),
        )
        made = store.study("plain.grid")
        return finish(store, "grid", made, trained(store, made), time.monotonic() - began)


def rounded_down(study: StudyRecord, examples: int) -> int:
    """Return the most examples of a trial that every batch size of a study divides."""
    multiple = 8 * math.lcm(*study.facts.budget.batch_sizes)
    return max(multiple, examples // multiple * multiple)


def main() -> None:
    """Run the ways under each seed and print what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=("demo", "disfl_qa", "sentence_polarity"))
    parser.add_argument("--examples", type=int, required=True, help="training examples of each way, in all")
    parser.add_argument("--folder", type=Path, help="where studies are kept (default: nowhere)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    if arguments.task != "demo" and not SHARED.is_dir():
        raise SystemExit(f"{arguments.task} needs {SHARED}, which is not there")
    with tempfile.TemporaryDirectory(prefix="loratune-ends-") as made:
        runs: dict[str, list[Way]] = {way: [] for way in arguments.ways}
        for seed in arguments.seeds:
            folder = (arguments.folder or Path(made)) / arguments.task / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            for way, done in runs.items():
                done.append(WAYS[way](arguments.task, arguments.examples, folder, seed))
    report(arguments.task, arguments.seeds, runs)


def report(task: str, seeds: list[int], runs: dict[str, list[Way]]) -> None:
    """Print a row a run, and what the first way is better by: a seed each, and over all of them."""
    first = next(iter(runs.values()))
    print(f"\n{task}, {len(first[0].test.losses)} test examples\n")
    columns = ("", "seed", "examples in all", "of the last run", "its learning rate", "validation", "test")
    print(f"| {' | '.join(columns)} | {first[0].name} less it |")
    print("|---|---|---|---|---|---|---|---|")
    for done in runs.values():
        for seed, mine, way in zip(seeds, first, done, strict=True):
            words = "" if way is mine else said(paired_interval(mine.test, way.test))
            print(
                f"| {way.name} | {seed} | {way.examples} | {way.final} | {way.params['learning_rate']:.2g} | "
                f"{way.validation:.4f} | {way.test.loss:.4f} | {words} |"
            )
    print()
    for name, done in runs.items():
        validation, test = (
            statistics.fmean(values)
            for values in ([one.validation for one in done], [one.test.loss for one in done])
        )
        words = (
            "" if done is first else said(over_both([one.test for one in first], [one.test for one in done]))
        )
        print(f"{name}: mean validation {validation:.4f}, mean test {test:.4f} {words}")
    print()
    for seed, *ways in zip(seeds, *runs.values(), strict=True):
        for way in ways:
            told = {"way": way.name, "seed": seed, "seconds": round(way.seconds), "params": way.params}
            print(json.dumps({**told, "test": way.test.loss}))


def said(found: Interval | Estimate | None) -> str:
    """Return a difference with its interval."""
    if found is None:
        return ""
    value = found.difference if isinstance(found, Interval) else found.value
    if found.low is None or found.high is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


WAYS = {"climb": climb, "optuna": optuna, "grid": grid}


if __name__ == "__main__":
    main()
