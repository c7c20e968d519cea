"""LLaMA-Factory as a peer: each configuration a process of its own, as its users run one after another.

As many side by side as there are cores, a thread each. It reads records, not tokens, and in an order of its
own, so its losses are of other work and are not compared; steps, batches and adapters are the same.
In its favour: it evaluates once, at the end, and saves nothing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from loratune.spaces.arguments import lora_config, training_arguments, warmup_steps
from loratune.spaces.params import LoraParams
from throughput_parts.report import Side
from throughput_parts.watching import watch

NEEDS = "LLaMA-Factory is not installed here (its releases up to 0.9.5 take Transformers up to 5.6)"


def why_not(examples: int | None, record: dict[str, Any]) -> str | None:
    """Return in a line why LLaMA-Factory cannot be measured; None where it can be."""
    if importlib.util.find_spec("llamafactory") is None:
        return f"{NEEDS}; leave --llamafactory out"
    if examples is None:
        return "--llamafactory needs --examples: a trial's length is given to it in steps"
    if not {"instruction", "output"} <= record.keys():
        return "--llamafactory reads records of alpaca's fields here; give such a file as --data"
    return None


def first_record(data: Path) -> dict[str, Any]:
    """Return the first record of a file of lines."""
    with data.open(encoding="utf-8") as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def arguments_of(job: dict[str, Any], params: LoraParams, folder: Path) -> dict[str, Any]:
    """Return the configuration file of one trial; ``folder`` holds the registry of data."""
    steps = job["examples"] // params.batch_size
    peft = lora_config(params)
    trainer = training_arguments(params) | {"warmup_steps": warmup_steps(params, steps)}
    target = peft["target_modules"]
    return {
        "model_name_or_path": job["model"],
        "stage": "sft",
        "do_train": True,
        "do_eval": True,
        "finetuning_type": "lora",
        "lora_rank": peft["r"],
        "lora_alpha": peft["lora_alpha"],
        "lora_dropout": peft["lora_dropout"],
        "lora_target": "all" if target == "all-linear" else ",".join(target),
        "dataset": "trials",
        "dataset_dir": str(folder),
        "template": "empty",
        "cutoff_len": 1024,
        "val_size": job["eval_examples"] or 64,
        "preprocessing_num_workers": 1,
        **trainer,
        "max_steps": steps,
        "per_device_eval_batch_size": job["eval_batch"],
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "output_dir": str(folder / "out"),
        "overwrite_output_dir": True,
        "seed": job["seed"],
        "bf16": job["device"] != "cpu",
    }


def commands_of(files: Sequence[Path], processes: int) -> list[list[str]]:
    """Return a command for each of so many places: its trials, a process each, one after another."""
    shares = [files[place::processes] for place in range(min(processes, len(files)))]
    program = f"{shlex.quote(sys.executable)} -m llamafactory.cli train "
    return [["sh", "-ec", "\n".join(program + shlex.quote(str(file)) for file in share)] for share in shares]


def llamafactory_side(job: dict[str, Any], processes: int) -> Side:
    """Train every configuration; return what it took."""
    with tempfile.TemporaryDirectory(prefix="loratune-llamafactory-") as name:
        folder = Path(name)
        entry = {"file_name": job["data"], "formatting": "alpaca"}
        (folder / "dataset_info.json").write_text(json.dumps({"trials": entry}))
        files = []
        for number, values in zip(itertools.count(), job["configs"], strict=False):
            files.append(folder / f"trial-{number}.yaml")
            arguments = arguments_of(job, LoraParams.from_dict(values), folder)
            arguments["output_dir"] = str(folder / f"out-{number}")
            files[-1].write_text(yaml.safe_dump(arguments))
        seen = watch(commands_of(files, processes), folder, 1)
    return Side(
        watched=seen,
        seconds=seen.wall,
        losses=(),
        start="in each of its processes, and counted, since each configuration is one",
        notes=(
            f"LLaMA-Factory {importlib.metadata.version('llamafactory')}, {processes} side by side",
            "its losses are of other tokens in another order, and are not compared",
        ),
    )
