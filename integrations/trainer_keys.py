"""What every trainer on Transformers is told alike: its arguments and what it holds out."""

from __future__ import annotations

import math
from typing import Any

from ..spaces.arguments import scheduler_arguments, training_arguments
from ..study.full_run import FullRun
from ..study.handover import Handover


def trainer_keys(handed: Handover, run: FullRun) -> dict[str, Any]:
    """Return Transformers' ``TrainingArguments`` of a full run, but for the number type."""
    params = handed.trial.params
    schedule = scheduler_arguments(params, run.steps)
    return {
        **training_arguments(params),
        "per_device_train_batch_size": _per_device(handed),
        "gradient_accumulation_steps": params.batch_size // _per_device(handed),
        "num_train_epochs": float(run.epochs),
        "warmup_steps": run.warmup_steps,
        **({"lr_scheduler_kwargs": schedule} if schedule else {}),
        "max_grad_norm": handed.objective.max_grad_norm,
        "optim": "adamw_torch",
        "seed": handed.study.seed,
        "logging_steps": 10,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "report_to": "none",
    }


def run_of_split(handed: Handover) -> tuple[FullRun, float | None]:
    """Return the full run of a trainer that holds examples out by itself, and the share that it holds out.

    The share is None where validation examples lie in a file of their own.
    """
    if handed.objective.data.validation:
        return handed.run(), None
    share = handed.objective.data.split[1]
    every = handed.data.train + handed.data.validation + handed.data.test
    # As train_test_split of the library datasets rounds, which the trainers call.
    return handed.run(every - math.ceil(share * every)), round(share, 4)


def notes(handed: Handover, trainer: str) -> list[str]:
    """Return what is to be known of batches, alpha and the file's encoding, for a trainer of that name."""
    params = handed.trial.params
    found = [
        f"The batch size is {params.batch_size} on one device, {_per_device(handed)} x "
        f"{params.batch_size // _per_device(handed)}: on N devices divide gradient_accumulation_steps by N."
    ]
    if not float(params.lora_alpha).is_integer():
        found.append(
            f"lora_alpha is not a whole number: {trainer} declares one, but hands the YAML's on to PEFT "
            "as it is. Rounding it would change the scale of the update."
        )
    if not handed.objective.data.validation:
        found.append(
            f"{trainer} draws a validation split of its own: it is not the study's, and examples of "
            "the study's test set are trained on."
        )
    if handed.objective.model.quantization_bit == 8:
        found.append(
            f"{trainer} keeps columns with outliers in 16 bits (LLM.int8), which the study did not, since "
            "these are chosen over a whole batch: the base is another one by a little."
        )
    return found


def encoding_notes(handed: Handover) -> list[str]:
    """Return what is to be done with a data file that is not in UTF-8."""
    encoding = handed.objective.data.encoding
    if encoding.lower() in ("utf-8", "utf8", "utf-8-sig"):
        return []
    return [f"The data is in {encoding}: convert it to UTF-8 first."]


def _per_device(handed: Handover) -> int:
    # The largest part of a batch that the search fed at once; known to divide every batch size.
    return math.gcd(handed.budget.micro_batch, handed.trial.params.batch_size)
