"""Made-up confirmations: losses drawn for each configuration, seed and example."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from loratune.reports.confirm_facts import ConfirmView
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.study.locked_set import Opening
from loratune.study.records import Evaluation, StudyRecord, TrialRecord
from loratune.study.stage import Entry, Stage
from made_up_studies import START, make_config, make_facts

DEFAULT = preset("tiny").default


def params(rank: int = 8, batch_size: int = 8, rate: float = 3e-3) -> LoraParams:
    return LoraParams(learning_rate=rate, batch_size=batch_size, lora_rank=rank, lora_alpha=2.0 * rank)


def draw(
    rng: np.random.Generator,
    means: Sequence[float],
    *,
    seeds: int,
    examples: int,
    seed_noise: float,
    example_noise: float = 0.1,
) -> list[list[Evaluation]]:
    """Draw each configuration's losses under each seed: its own luck of the seed, and of each example."""
    tokens = rng.integers(4, 40, examples)
    hardness = rng.lognormal(0, 0.4, examples)
    found = []
    for mean in means:
        taste = rng.normal(0, example_noise, examples)  # what this configuration finds easy, under every seed
        losses = [
            tokens * (mean * hardness + rng.normal(0, seed_noise) + taste + rng.normal(0, 0.05, examples))
            for _ in range(seeds)
        ]
        found.append([Evaluation(losses=one.astype(np.float32), tokens=tokens) for one in losses])
    return found


def make_confirmation(
    evaluations: Sequence[Sequence[Evaluation | None]],
    *,
    trials: Sequence[int],
    configurations: Sequence[LoraParams],
    searched: dict[int, float] | None = None,
    openings: tuple[Opening, ...] = (),
    ended: int | None = None,
    live: bool = False,
) -> ConfirmView:
    """A confirmation of those trials; None stands for a training that diverged."""
    seeds = len(evaluations[0])
    entries = [
        Entry(params=configurations[index], seed=seed, trial=trials[index])
        for seed in range(seeds)
        for index in range(len(trials))
    ]
    stage = Stage(kind="confirm", parent="demo", entries=tuple(entries))
    rows, losses = [], {}
    for number, entry in enumerate(entries[:ended]):
        measured = evaluations[list(trials).index(entry.trial)][entry.seed]
        if measured is not None:
            losses[number] = measured
        rows.append(
            TrialRecord(
                number=number,
                params=entry.params,
                seed=entry.seed,
                source="enqueued",
                state="diverged" if measured is None else "complete",
                reason=None if measured is not None else "the loss became NaN",
                value=None if measured is None else measured.loss,
                rounds=8,
                attempt=1,
                checkpoint=None,
                adapter=f"adapters/trial-{number:05d}.safetensors",
                started_at=START,
                finished_at=START,
            )
        )
    facts = make_facts()
    examples = len(next(one for each in evaluations for one in each if one is not None).losses)
    facts = dataclasses.replace(
        facts,
        budget=dataclasses.replace(facts.budget, final_eval_examples=examples),
        model=dataclasses.replace(facts.model, adapter_features={"all": 100}),
    )
    study = StudyRecord(
        id=2,
        name="demo.confirm",
        created_at=START,
        trials=len(entries),
        seed=0,
        config=make_config(stage=stage),
        facts=facts,
    )
    return ConfirmView(
        study=study,
        trials=tuple(rows),
        evaluations=losses,
        openings=openings,
        searched=searched or {},
        live=live,
    )


def make_opening(
    view: ConfirmView, evaluations: Sequence[Sequence[Evaluation]], trials: Sequence[int], opened: int = 1
) -> Opening:
    """A look at the test set for the first of the trials."""
    stage = view.study.config.stage
    assert stage is not None
    found = {
        number: evaluations[list(trials).index(entry.trial)][entry.seed]
        for number, entry in enumerate(stage.entries)
        if entry.trial in trials
    }
    return Opening(at=START, opened=opened, recommended=trials[0], evaluations=found)
