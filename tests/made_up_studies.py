"""Made-up studies: records as the store would hand them out, from a loss surface with an optimum."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loratune.reports.view import StudyView
from loratune.spaces.params import LoraParams
from loratune.spaces.presets import preset
from loratune.spaces.space import SearchSpace
from loratune.storage.progress_note import Progress
from loratune.study.budget import Budget
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig
from loratune.study.facts import BadRecord, DataSummary, Facts, Geometry, ModelSummary
from loratune.study.memory import MemoryFacts
from loratune.study.records import (
    CurvePoint,
    Ending,
    Evaluation,
    EventRecord,
    State,
    StudyRecord,
    TrialRecord,
)
from loratune.study.study_config import StudyConfig

START = datetime.datetime(2026, 11, 22, 9, 0, tzinfo=datetime.UTC)
BUDGET = Budget(
    micro_batch=4, round_examples=192, batch_sizes=(4, 8, 16, 32), eval_examples=96, final_eval_examples=384
)
BASE_LOSS = 2.4
IN_A_CHILD = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from made_up_studies import make_config, make_facts
"""
"""What code that runs in another process begins with to make a study."""
TARGETS = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj")

MakeView = Callable[..., StudyView]


def surface(params: LoraParams) -> float:
    """The final loss of a configuration; infinite where it diverges."""
    x = math.log10(params.learning_rate) + 0.3 * math.log10(params.scaling / 2)
    return math.inf if x > -1.1 else 1.5 + 0.35 * (x + 1.7) ** 2 - 0.02 * math.log2(params.lora_rank)


def random_params(rng: np.random.Generator) -> LoraParams:
    rank = int(rng.choice([2, 4, 8, 16]))
    return LoraParams(
        learning_rate=float(10 ** rng.uniform(math.log10(3e-4), -1)),
        batch_size=int(rng.choice([4, 8, 16, 32])),
        lora_rank=rank,
        lora_alpha=float(rng.uniform(0.5, 4)) * rank,
        warmup_ratio=float(rng.uniform(0, 0.1)),
    )


def make_config(
    *,
    model: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    space: SearchSpace | None = None,
    first: LoraParams | None = None,
    **choices: Any,
) -> StudyConfig:
    """What a user chose for a study; ``model`` and ``data`` change fields of those parts."""
    tiny = preset("tiny")
    objective = ObjectiveConfig(
        model=ModelConfig(**{"name_or_path": "demo-model", **(model or {})}),
        data=DataConfig(**{"train": "train.jsonl", **(data or {})}),
        batch_sizes=BUDGET.batch_sizes,
        lora_ranks=(2, 4, 8, 16),
        lora_targets=("all",),
    )
    given = {"default_source": tiny.default_source, "first": (first or tiny.default,), **choices}
    return StudyConfig(space=space or tiny.space, preset="tiny", objective=objective, **given)


def make_point(trial: int, round_number: int, eval_loss: float | None) -> CurvePoint:
    """A point of a trial's curve, of which its loss alone matters."""
    return CurvePoint(
        trial=trial,
        round=round_number,
        examples=round_number,
        train_loss=1.0,
        eval_loss=eval_loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens_per_second=1.0,
        memory_bytes=1,
        worker=0,
        started_at=START,
        finished_at=START,
    )


def make_facts(
    *,
    base: Evaluation | None = None,
    data: dict[str, Any] | None = None,
    targets: tuple[str, ...] = TARGETS,
    name_or_path: str = "demo-model",
) -> Facts:
    """What was found when a study was made; ``data`` changes fields of the summary of its data."""
    if base is None:
        base = Evaluation(losses=np.array([4.8, 2.4], np.float32), tokens=np.array([2, 1]))
    return Facts(
        geometry=Geometry(
            rank_max=16,
            micro_step_lengths=(64,) * BUDGET.micro_steps,
            eval_rows=16,
            targets=targets,
            dtype="float32",
            attn_implementation="sdpa",
            gradient_checkpointing=False,
        ),
        budget=BUDGET,
        data=DataSummary(
            **{
                "format": "alpaca",
                "template": "chatml",
                "fingerprint": "0f1e2d",
                "train": 2800,
                "validation": 600,
                "test": 600,
                "records": 4003,
                "bad": 3,
                "bad_records": (BadRecord(file="train.jsonl", line=17, reason="no field 'output'"),),
                "duplicates": 0,
                "cutoff_len": 512,
                "truncated": 2,
                "tokens": 180_000,
                "target_tokens": 60_000,
                "length_quantiles": (12, 30, 48, 70, 200),
                "rendered": "<|user|>Say it again<|end|>\n<|assistant|>⟦It again.<|end|>⟧\n",
                **(data or {}),
            }
        ),
        model=ModelSummary(
            name_or_path=name_or_path,
            revision=None,
            architecture="LlamaForCausalLM",
            parameters=1_200_000,
            vocab_size=2048,
            device="cpu",
            device_name="2 CPU cores",
        ),
        memory=MemoryFacts(base_bytes=5_000_000, slot_bytes=1_000_000, available_bytes=10**9, slots_max=64),
        base_loss=base.loss,
        base_losses=tuple(float(loss) for loss in base.losses),
        eval_tokens=tuple(int(count) for count in base.tokens),
        rows_per_second=200.0,
        environment={"python": "3.11.2", "torch": "2.13.0", "platform": "Linux x86_64"},
        slots=8,
    )


def make_study(
    trials: int = 40,
    *,
    seed: int = 0,
    name: str = "demo",
    wanted: int | None = None,
    states: dict[int, str] | None = None,
    space: SearchSpace | None = None,
    params: dict[int, LoraParams] | None = None,
    noise: float = 0.02,
    prune: bool = True,
    data: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    targets: tuple[str, ...] = TARGETS,
) -> StudyView:
    """A study of so many trials; ``states`` forces some trials' ends."""
    rng = np.random.default_rng(seed)
    tiny = preset("tiny")
    tokens = rng.integers(4, 40, BUDGET.final_eval_examples)
    hardness = rng.lognormal(0, 0.4, len(tokens))

    def evaluation(loss: float) -> Evaluation:
        losses = tokens * (loss * hardness + rng.normal(0, noise * loss, len(tokens)))
        scaled = losses * (loss * tokens.sum() / losses.sum())
        return Evaluation(losses=scaled.astype(np.float32), tokens=tokens.astype(np.int64))

    rows, curve, evaluations = [], [], {}
    clock = [START, START]
    for number in range(trials):
        chosen = (params or {}).get(number) or (tiny.default if number == 0 else random_params(rng))
        final = surface(chosen)
        state = "diverged" if math.isinf(final) else "complete"
        if prune and state == "complete" and number and final > 1.62:
            state = "pruned"
        state = (states or {}).get(number, state)
        rounds = {"complete": 8, "pruned": 2, "diverged": 1, "running": 3, "failed": 1, "infeasible": 0}[
            state
        ]
        started = clock[number % 2]
        for round_number in range(1, rounds + 1):
            begun, clock[number % 2] = clock[number % 2], clock[number % 2] + datetime.timedelta(seconds=5)
            loss = (
                (BASE_LOSS - final) * math.exp(-round_number / 1.5) + final if math.isfinite(final) else None
            )
            curve.append(
                CurvePoint(
                    trial=number,
                    round=round_number,
                    examples=round_number * BUDGET.round_examples,
                    train_loss=loss,
                    eval_loss=loss if round_number in (1, 2, 4, 8) else None,
                    learning_rate=chosen.learning_rate,
                    grad_norm=0.5,
                    tokens_per_second=1000.0,
                    memory_bytes=10**8,
                    worker=number % 2,
                    started_at=begun,
                    finished_at=clock[number % 2],
                )
            )
        value = None
        if state == "complete":
            evaluations[number] = evaluation(final)
            value = evaluations[number].loss
        reasons = {
            "pruned": "eval loss 1.9 after 384 examples: not among the best third of 12",
            "diverged": "the loss became NaN at example 96",
            "failed": "failed: the worker died 3 times",
            "infeasible": "does not fit in memory",
        }
        rows.append(
            TrialRecord(
                number=number,
                params=chosen,
                seed=0,
                source="default" if number == 0 else "tpe",
                state=state,
                reason=reasons.get(state),
                value=value,
                rounds=rounds,
                attempt=1,
                checkpoint=None,
                adapter=None,
                started_at=started,
                finished_at=None if state == "running" else clock[number % 2],
            )
        )
    base = evaluation(BASE_LOSS)
    study_config = make_config(
        model=model, data=config, space=space or tiny.space, first=rows[0].params if rows else tiny.default
    )
    facts = make_facts(
        base=base, data=data, targets=targets, name_or_path=study_config.objective.model.name_or_path
    )
    study = StudyRecord(
        id=1,
        name=name,
        created_at=START,
        trials=wanted if wanted is not None else trials,
        seed=0,
        config=study_config,
        facts=facts,
    )
    return StudyView(
        study=study,
        trials=tuple(rows),
        curve=tuple(curve),
        evaluations=evaluations,
        events=(EventRecord(at=START, kind="created", detail={}),),
    )


def with_facts(view: StudyView, part: str | None = None, **changes: Any) -> StudyView:
    """The view of a study of which other facts were found: of a part of them, or of themselves."""
    facts = view.study.facts
    if part is not None:
        changes = {part: dataclasses.replace(getattr(facts, part), **changes)}
    study = dataclasses.replace(view.study, facts=dataclasses.replace(facts, **changes))
    return dataclasses.replace(view, study=study)


def progress_of(trials: Sequence[TrialRecord]) -> Progress:
    """How far these trials are, counted from their rows."""
    ended = sum(trial.state != "running" for trial in trials)
    return Progress(trials=len(trials), rounds=sum(trial.rounds for trial in trials), ended=ended)


@pytest.fixture
def make_view() -> MakeView:
    return make_study


@pytest.fixture(scope="session")
def view() -> StudyView:
    return make_study(60)


def with_trial(view: StudyView, number: int, **changes: Any) -> StudyView:
    """The view with one trial's record changed."""
    rows = tuple(dataclasses.replace(row, **changes) if row.number == number else row for row in view.trials)
    return dataclasses.replace(view, trials=rows)


@pytest.fixture
def change_trial() -> Callable[..., StudyView]:
    return with_trial


def ending(
    trial: int,
    state: State = "complete",
    reason: str | None = None,
    value: float | None = None,
    adapter: str | None = None,
) -> Ending:
    """Return how a trial ended; a complete one has a value, all others a reason."""
    if state == "complete" and value is None:
        value = 2.0
    if state != "complete" and reason is None:
        reason = "worse than its peers"
    return Ending(trial=trial, state=state, reason=reason, value=value, adapter=adapter)
