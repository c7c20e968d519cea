"""Equal examples in all, up to one trained model: a search that climbs, a grid, Optuna's default.

    python benchmarks/end_to_end.py demo --examples 107520 [--folder DIR] [--seed 0]
    python benchmarks/end_to_end.py disfl_qa --examples 20480
    python benchmarks/end_to_end.py sentence_polarity --examples 20480

Three ways to spend the same number of training examples:

    climb     tune search --examples-in-all N: search, steps, final run, as a user types it
    grid      five learning rates, spread evenly in log over the preset's range, N/5 each, all else default
    optuna    TPE and the median pruner on about half of N, then its best trained anew on what is left

Each is chosen on validation and measured on the locked test set, which no part of any of them has seen;
paired intervals over its examples. Grid and full run use the preset's cosine schedule. What each spent
is printed. Runs that are there in the folder are not made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loratune.app.following import follow
from loratune.app.options import RunOptions
from loratune.app.unlocking import open_test
from loratune.demo import data_path, model_path
from loratune.reports.paired import paired_interval
from loratune.storage.store import Store
from loratune.study.locked_set import KIND, opening_of
from loratune.study.ranking import best_trial
from loratune.study.records import Evaluation, StudyRecord
from loratune.study.stage import Entry, Stage

POINTS = 5
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
    more = ("--sampler", "tpe", "--pruner", "median")
    trials = 8
    while True:
        plain_study(task, folder, seed, trials, *more)
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


def grid(examples: int, folder: Path) -> Way:
    """Five learning rates at a fifth each."""
    began = time.monotonic()
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
    import math

    multiple = 8 * math.lcm(*study.facts.budget.batch_sizes)
    return max(multiple, examples // multiple * multiple)


def main() -> None:
    """Run the three ways and print what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("task", choices=("demo", "disfl_qa", "sentence_polarity"))
    parser.add_argument("--examples", type=int, required=True, help="training examples of each way, in all")
    parser.add_argument("--folder", type=Path, help="where studies are kept (default: nowhere)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.task != "demo" and not SHARED.is_dir():
        raise SystemExit(f"{arguments.task} needs {SHARED}, which is not there")
    with tempfile.TemporaryDirectory(prefix="loratune-ends-") as made:
        folder = arguments.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        own = (arguments.task, arguments.examples, folder)
        ways = [climb(*own, arguments.seed), optuna(*own, arguments.seed), grid(*own[1:])]
    report(arguments.task, ways)


def report(task: str, ways: list[Way]) -> None:
    """Print a row a way, and what climbing is better by."""
    first = ways[0]
    print(f"\n{task}, {len(first.test.losses)} test examples\n")
    print(
        "| | examples in all | of the chosen trial | its learning rate | validation | test | climb less it |"
    )
    print("|---|---|---|---|---|---|---|")
    for way in ways:
        interval = None if way is first else paired_interval(first.test, way.test)
        words = (
            ""
            if interval is None
            else f"{interval.difference:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"
        )
        print(
            f"| {way.name} | {way.examples} | {way.final} | {way.params['learning_rate']:.2g} | "
            f"{way.validation:.4f} | {way.test.loss:.4f} | {words} |"
        )
    print()
    for way in ways:
        told = {"way": way.name, "seconds": round(way.seconds), "params": way.params, "test": way.test.loss}
        print(json.dumps(told))


if __name__ == "__main__":
    main()
