"""Is it right on this device?

A search of the demo is killed and resumed and must end as one that was not; the self-check must pass in
bfloat16 and float16; a trial must be what plain PEFT trains, and the same alone and among sixteen.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import torch
import transformers
from gpu_stages.searching import Search
from gpu_stages.stage import TOY, Stage, make_base, make_geometry
from loratune.demo import data_path, model_path
from loratune.objectives.base import Done
from loratune.objectives.data.dataset import load_data
from loratune.objectives.testing.reference import run_reference
from loratune.objectives.training.model import load_model, load_tokenizer
from loratune.objectives.training.norms import unfuse_norms
from loratune.objectives.training.selfcheck import check_pack
from loratune.objectives.training.session import Session
from loratune.spaces.params import LoraParams
from loratune.study.budget import ROUNDS, RUNGS
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

SLOTS = 16
TINY = {**TOY, "max_position_embeddings": 128}
ARCHITECTURES = {
    "llama": {"model_type": "llama", **TINY},
    "qwen2": {"model_type": "qwen2", **TINY},
    "qwen3": {"model_type": "qwen3", **TINY, "head_dim": 8},
    "mistral": {"model_type": "mistral", **TINY, "sliding_window": None},
    "gemma3": {"model_type": "gemma3_text", **TINY, "head_dim": 8, "sliding_window": 64},
    "phi3": {"model_type": "phi3", **TINY, "pad_token_id": 0},
    "gpt2": {
        "model_type": "gpt2",
        **{"vocab_size": 1024, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    },
}
TRIAL = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16.0, warmup_ratio=0.1)


def run(stage: Stage) -> None:
    """Tell whether each promise holds; the two searches run beside the checks."""
    words = _search_words(stage)
    whole = Search(stage.folder / "whole", *words)
    struck = Struck(stage.folder / "struck", words, after=ROUNDS * _trials(stage) // 3)
    struck.start()
    try:
        for dtype in (torch.bfloat16, torch.float16):
            _check_architectures(stage, dtype)
        for dtype in ("float32", *(() if stage.toy else ("bfloat16",))):
            with stage.attempt("pack against plain PEFT", dtype=dtype):
                _against_reference(stage, dtype)
            with stage.attempt("alone and among others", dtype=dtype):
                _against_neighbours(stage, dtype)
        with stage.attempt("kill -9 and resume"):
            _killed(stage, whole, struck)
    finally:
        whole.kill()
        struck.end()


class Struck(threading.Thread):
    """A search that is killed as soon as so many rounds are on record, and then resumed."""

    def __init__(self, folder: Path, words: list[str], after: int) -> None:
        super().__init__(daemon=True)
        self.search = Search(folder, *words)
        self.seen = 0
        self.killed = False
        self._after = after
        self._over = False

    def run(self) -> None:
        """Wait, strike, resume."""
        self.seen = self.search.wait_for(self._after)
        self.killed = self.search.process.poll() is None
        self.search.kill()
        if not self._over:
            self.search = Search(self.search.folder, "resume", "demo")

    def end(self) -> None:
        """Leave nothing running."""
        self._over = True
        self.search.kill()
        self.join()
        self.search.kill()


def _trials(stage: Stage) -> int:
    return 4 if stage.toy else 8


def _search_words(stage: Stage) -> list[str]:
    words = ["search", f"--trials={_trials(stage)}", f"--examples={64 if stage.toy else 512}"]
    words += ["--eval-examples=64", "--pruner=none"]
    words += [f"--device={stage.device.type}", "--workers=1", "--slots=2", "--seed=0", "--study=demo"]
    # Rates at which rounding alone does not take two runs apart, ranks and batches that differ.
    words += ["--set=learning_rate=1e-4..2e-3:log", "--set=batch_size=4,8", "--set=lora_rank=4,8"]
    return words


def _killed(stage: Stage, whole: Search, struck: Struck) -> None:
    """Compare the search that was killed and resumed with the one that was not."""
    trials = _trials(stage)
    struck.join()
    codes = whole.wait(), struck.search.wait()
    if any(codes):
        raise RuntimeError(f"exit codes {codes}: {[search.last_line() for search in (whole, struck.search)]}")
    one, other = whole.record(), struck.search.record()
    complete = dict.fromkeys(range(trials), "complete")
    apart = [
        _apart(torch.tensor(other.final[number]), torch.tensor(one.final[number]))
        for number in one.final
        if number in other.final
    ]
    worst = max(apart, default=0.0)
    # What runs beside a trial differs after a kill; on a GPU another K may round otherwise.
    allowed = 0.0 if stage.device.type == "cpu" else 3e-2
    right = (
        struck.killed and one.states == other.states == complete and len(apart) == trials and worst <= allowed
    )
    stage.tell(
        "kill -9 and resume",
        trials=trials,
        killed_after_rounds=struck.seen,
        lost=sum(other.states.get(number) != "complete" for number in range(trials)),
        doubled=other.rounds - ROUNDS * trials,
        allowed=allowed,
        losses_differ_by=worst,
        **(
            {} if right else {"failed": f"killed: {struck.killed}; states {other.states}, whole {one.states}"}
        ),
    )


def _check_architectures(stage: Stage, dtype: torch.dtype) -> None:
    refused = {}
    for name, shape in ARCHITECTURES.items():
        try:
            config = transformers.AutoConfig.for_model(**shape)
            base = make_base(stage, config, dtype, name=name)
            check_pack(base, make_geometry(base, rank=8, length=16))
        except Exception as error:
            refused[name] = " ".join(str(error).split())[:160]
    passed = len(ARCHITECTURES) - len(refused)
    words = {"dtype": str(dtype).removeprefix("torch."), "passed": f"{passed} of {len(ARCHITECTURES)}"}
    failed = "; ".join(f"{name}: {why}" for name, why in refused.items())
    stage.tell("self-check", **words, **({"failed": failed} if refused else {}))


def _objective(stage: Stage, dtype: str, slots: int) -> ObjectiveConfig:
    return ObjectiveConfig(
        model=ModelConfig(name_or_path=str(model_path()), device=str(stage.device), dtype=dtype),
        data=DataConfig(train=str(data_path())),
        batch_sizes=(4, 8),
        lora_ranks=(4, 8),
        lora_targets=("all",),
        examples=64 if stage.toy else 256,
        eval_examples=32,
        slots=slots,
    )


def _against_reference(stage: Stage, dtype: str) -> None:
    """Train one whole trial by the pack and by PEFT."""
    objective = _objective(stage, dtype, 1)
    session = Session(objective)
    ours = _train(session, {0: TRIAL}, stage.folder)[0]
    session.close()
    base = load_model(objective.model)
    unfuse_norms(base.model)
    data = load_data(
        dataclasses.replace(objective.data, cutoff_len=session.facts.data.cutoff_len),
        load_tokenizer(objective.model),
        cache_dir=None,
    )
    theirs = run_reference(
        base, data, TRIAL, seed=0, budget=session.facts.budget, geometry=session.facts.geometry
    ).eval_losses
    apart = {f"at_{rung}": _mean_apart(ours[rung], theirs[rung]) for rung in RUNGS}
    # In bfloat16 PEFT keeps its adapters in float32 and multiplies there: that is the difference allowed.
    allowed = 1e-4 if dtype == "float32" else 5e-3
    worst = max(apart.values())
    failed = {} if worst <= allowed else {"failed": f"differs by {worst:.2g}, allowed are {allowed:g}"}
    stage.tell("pack against plain PEFT", dtype=dtype, allowed=allowed, eval_loss_differs=apart, **failed)


def _against_neighbours(stage: Stage, dtype: str) -> None:
    """Train trials among others and alone."""
    slots = 4 if stage.toy else SLOTS
    trials = {
        number: dataclasses.replace(
            TRIAL,
            learning_rate=1e-3 * 1.1**number,
            batch_size=(4, 8)[number % 2],
            lora_rank=(4, 8)[number // 2 % 2],
        )
        for number in range(slots)
    }
    session = Session(_objective(stage, dtype, slots))
    together = _train(session, trials, stage.folder)
    session.close()
    apart = {}
    for number in (0, slots - 1):
        session = Session(_objective(stage, dtype, 1))
        alone = _train(session, {number: trials[number]}, stage.folder)[number]
        session.close()
        apart[f"trial_{number}"] = max(_apart(alone[rung], together[number][rung]) for rung in RUNGS)
    # Another K is another shape of product, which a GPU may round otherwise.
    allowed = {"cpu": 0.0}.get(stage.device.type, 1e-3 if dtype == "float32" else 3e-2)
    worst = max(apart.values())
    failed = {} if worst <= allowed else {"failed": f"differs by {worst:.2g}, allowed are {allowed:g}"}
    stage.tell(
        "alone and among others", dtype=dtype, slots=slots, allowed=allowed, losses_differ_by=apart, **failed
    )


def _train(
    session: Session, trials: dict[int, LoraParams], folder: Path
) -> dict[int, dict[int, torch.Tensor]]:
    """Train trials to their end; return each one's losses by rung."""
    found: dict[int, dict[int, torch.Tensor]] = {number: {} for number in trials}
    for number, params in trials.items():
        session.add(number, params, seed=0, attempt=1)
    for round_number in range(1, ROUNDS + 1):
        for news in session.train_round(folder):
            if isinstance(news, Done):
                for result in news.results:
                    if result.diverged is not None:
                        raise RuntimeError(f"trial {result.trial}: {result.diverged}")
                    if result.eval_losses is not None:
                        found[result.trial][round_number] = torch.tensor(result.eval_losses)
    for number in trials:
        session.remove(number)
    return found


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the greatest difference of examples' losses, relative to the greatest loss."""
    return float((one - other).abs().max() / other.abs().max())


def _mean_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the relative difference of two summed losses."""
    return abs(float(one.sum()) - float(other.sum())) / abs(float(other.sum()))
