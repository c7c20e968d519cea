"""What users do today: an Optuna study whose objective runs Transformers' Trainer on a PEFT model.

    python benchmarks/trainer_peer.py JOB.json RESULT.json

Started by throughput.py, which says in JOB what to train, once or several times side by side. A process takes
the next trial that no other has taken, trains it, and takes another. Nothing is done here that would hold a
user's script back: the base model is loaded and the data is tokenized once for all trials of a process, each
process has a study of its own in memory, nothing is saved, logged or drawn.

The data order is that of loratune (``train_sampling_strategy="sequential"`` over its stream) and so are
the adapters' first values, so that the losses of both can be compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import peft
import psutil
import torch
import transformers
from loratune.objectives.data.dataset import Split, TokenizedData, load_data
from loratune.objectives.training.model import BaseModel, load_model, load_tokenizer
from loratune.objectives.training.norms import unfuse_norms
from loratune.objectives.training.preparation import peak_memory
from loratune.objectives.training.rng import initial_a
from loratune.objectives.training.stream import Stream
from loratune.spaces.arguments import lora_config, training_arguments
from loratune.spaces.params import LoraParams
from loratune.spaces.space import SearchSpace
from loratune.study.budget import ROUNDS, RUNGS, Budget, plan_budget
from loratune.study.config import DataConfig, ModelConfig

IMPORTED = time.time()
IGNORED = -100

Row = dict[str, list[int]]


def rows_of(split: Split, chosen: Any) -> list[Row]:
    """Return examples as a data set of Trainer's."""
    rows = []
    for index in chosen:
        tokens, target = split.example(int(index))
        labels = np.where(target, tokens, IGNORED)
        rows.append({"input_ids": tokens.tolist(), "labels": labels.tolist()})
    return rows


class AtRungs(transformers.TrainerCallback):
    """Has Trainer evaluate after rounds 1, 2, 4 and 8, on the set of that rung."""

    def __init__(self, budget: Budget, batch_size: int, sets: dict[int, list[Row]]) -> None:
        self.trainer: transformers.Trainer | None = None
        self._rungs = {rung * budget.round_examples // batch_size: budget.eval_size(rung) for rung in RUNGS}
        self._sets = sets

    def on_step_end(self, _args: Any, state: Any, control: Any, **_others: Any) -> None:
        """Choose the set and ask for the evaluation."""
        size = self._rungs.get(state.global_step)
        if size is not None and self.trainer is not None:
            self.trainer.eval_dataset = self._sets[size]
            control.should_evaluate = True


def suggest(trial: optuna.Trial, name: str, own: Any) -> Any:
    """Ask Optuna for one value."""
    if isinstance(own, optuna.distributions.FloatDistribution):
        return trial.suggest_float(name, own.low, own.high, log=own.log)
    if isinstance(own, optuna.distributions.IntDistribution):
        return trial.suggest_int(name, own.low, own.high)
    return trial.suggest_categorical(name, own.choices)


def train(
    base: BaseModel,
    tokenizer: Any,
    params: LoraParams,
    rows: list[Row],
    sets: dict[int, list[Row]],
    budget: Budget,
    job: dict[str, Any],
    folder: str,
) -> list[float]:
    """Train and evaluate one trial; return the eval losses as Trainer reports them."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", **lora_config(params))
    model = peft.get_peft_model(base.model, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(".lora_A.default.weight"):
                layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
                weight.copy_(initial_a(job["seed"], layer, *weight.shape))
    on_gpu = base.device.type == "cuda"
    arguments = transformers.TrainingArguments(
        output_dir=folder,
        **training_arguments(params),
        per_device_eval_batch_size=job["eval_batch"],
        num_train_epochs=1,  # the data set is the whole stream, in order
        train_sampling_strategy="sequential",
        optim="adamw_torch",
        bf16=on_gpu and base.dtype == torch.bfloat16,
        fp16=on_gpu and base.dtype == torch.float16,
        prediction_loss_only=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=on_gpu,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
    )
    at_rungs = AtRungs(budget, params.batch_size, sets)
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=sets[budget.final_eval_examples],
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
        processing_class=tokenizer,
        callbacks=[at_rungs],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    at_rungs.trainer = trainer
    trainer.train()
    model.unload()
    return [float(line["eval_loss"]) for line in trainer.state.log_history if "eval_loss" in line]


def run(job: dict[str, Any], base: BaseModel, tokenizer: Any, data: TokenizedData) -> dict[str, Any]:
    """Run what is left of the study; return when it began and ended, and this process's trials."""
    space = SearchSpace.from_dict(job["space"])
    trials = [LoraParams.from_dict(values) for values in job["configs"]]
    budget = plan_budget(
        space.batch_sizes(),
        train_examples=len(data.train),
        validation_examples=len(data.validation),
        examples=job["examples"],
        eval_examples=job["eval_examples"],
    )
    stream = Stream(data.train.lengths, budget, job["seed"])
    rows = rows_of(data.train, np.concatenate([stream.round(q).reshape(-1) for q in range(ROUNDS)]))
    sizes = {budget.eval_examples, budget.final_eval_examples}
    sets = {size: rows_of(data.validation, range(size)) for size in sizes}
    done: dict[int, dict[str, Any]] = {}
    number = 0

    with tempfile.TemporaryDirectory() as folder:

        def objective(trial: optuna.Trial) -> float:
            params = space.decode(
                {name: suggest(trial, name, own) for name, own in space.distributions().items()}
            )
            began = time.perf_counter()
            measured = train(base, tokenizer, params, rows, sets, budget, job, folder)
            for rung, loss in zip(RUNGS, measured, strict=True):
                trial.report(loss, rung)
            done[number] = {"losses": measured, "seconds": time.perf_counter() - began}
            return measured[-1]

        study = optuna.create_study(pruner=optuna.pruners.NopPruner())
        began = time.time()
        for number, params in enumerate(trials):
            if claim(Path(job["claims"]), number):
                study.enqueue_trial(space.encode(params))
                study.optimize(objective, n_trials=1)
        ended = time.time()
    return {"began": began, "ended": ended, "trials": done, "examples": budget.examples}


def claim(folder: Path, number: int) -> bool:
    """Take a trial, unless another process has."""
    try:
        (folder / str(number)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def main() -> None:
    """Do the job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("job", type=Path, help="what to train, JSON")
    parser.add_argument("result", type=Path, help="where the result goes, JSON")
    arguments = parser.parse_args()
    job = json.loads(arguments.job.read_text())
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    model = ModelConfig(name_or_path=job["model"], device=job["device"])
    began = time.perf_counter()
    base = load_model(model)
    unfuse_norms(base.model)  # a user's have nothing of ours
    loaded = time.perf_counter()
    tokenizer = load_tokenizer(model)
    tokenizer.padding_side = "right"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    cutoff = min(DataConfig.cutoff_len, getattr(base.model.config, "max_position_embeddings", 1 << 30))
    data = load_data(DataConfig(train=job["data"], cutoff_len=cutoff), tokenizer, cache_dir=None)
    tokenized = time.perf_counter()
    result = run(job, base, tokenizer, data)
    result |= {
        "imports": IMPORTED - psutil.Process().create_time(),
        "model": loaded - began,
        "tokens": tokenized - loaded,
        "threads": torch.get_num_threads(),
        "device_peak": peak_memory(base.device) if base.device.type == "cuda" else None,
    }
    arguments.result.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
