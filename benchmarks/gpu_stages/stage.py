"""What every stage stands on: how it tells results, models of random weights, batches, clocks."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from loratune.demo import model_path
from loratune.objectives.data.dataset import Split
from loratune.objectives.training.batches import Batch, collate
from loratune.objectives.training.model import BaseModel, hold
from loratune.objectives.training.norms import fuse_norms
from loratune.objectives.training.targets import resolve_targets
from loratune.study.facts import Geometry

MIB = 2**20


class Skipped(Exception):  # noqa: N818
    """A stage cannot run here; says why."""


@dataclasses.dataclass(kw_only=True)
class Stage:
    """One stage as it runs."""

    name: str
    """Its name."""
    device: torch.device
    """Where it computes."""
    toy: bool
    """Whether sizes are those of a toy."""
    folder: Path
    """Where it may write."""
    results: Any
    """The pipe to the main program."""

    def tell(self, result: str, **values: Any) -> None:
        """Tell a result: a name within the stage, and what was found."""
        said = {key: _plain(value) for key, value in values.items()} | ({"toy": True} if self.toy else {})
        self.results.write(json.dumps({"stage": self.name, "result": result, **said}) + "\n")
        self.results.flush()

    @contextlib.contextmanager
    def attempt(self, result: str, **values: Any) -> Iterator[None]:
        """Tell of a failure in place of a result, and go on; memory that it held is freed."""
        try:
            yield
        except Skipped:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            self.tell(result, **values, failed=f"{type(error).__name__}: {text}")
            error.__traceback__ = None  # its frames hold the tensors
        finally:
            self.free()

    def free(self) -> None:
        """Give memory back that nobody holds."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """Wait until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def reset_peak(self) -> None:
        """Forget the peak of memory."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        """Return the most bytes of tensors since ``reset_peak``, None on a CPU, which does not count them."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None

    def mark(self) -> Any:
        """Return this moment of the device's time."""
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self, begin: Any, end: Any) -> float:
        """Return the time between two marks; ``synchronize`` comes before."""
        return begin.elapsed_time(end) if self.device.type == "cuda" else 1000 * (end - begin)

    def time(self, call: Any, repeats: int = 10, warm: int = 2) -> float:
        """Return the median milliseconds of a call on the device."""
        for _ in range(warm):
            call()
        spans = []
        for _ in range(3 if self.toy else repeats):
            begin = self.mark()
            call()
            spans.append((begin, self.mark()))
        self.synchronize()
        return statistics.median(self.milliseconds(*span) for span in spans)


def run(arguments: argparse.Namespace) -> None:
    """Run one stage in this process and end it."""
    torch.manual_seed(0)
    with os.fdopen(arguments.results, "w") as results:
        stage = Stage(
            name=arguments.stage,
            device=torch.device("cuda", 0) if arguments.device == "cuda" else torch.device("cpu"),
            toy=arguments.toy,
            folder=arguments.folder,
            results=results,
        )
        try:
            importlib.import_module(f"gpu_stages.{arguments.stage}").run(stage)
        except Skipped as why:
            results.write(json.dumps({"stage": stage.name, "skipped": str(why)}) + "\n")
    # Taking the libraries down would take seconds, and there is nothing left to do.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


# Models

SHAPES: dict[str, dict[str, Any]] = {
    "0.5B": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "1.5B": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "8B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
    "0.2B": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 1024,
        "intermediate_size": 2816,
        "num_hidden_layers": 12,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "tie_word_embeddings": True,
    },
}
"""Those of Qwen2.5-0.5B and 1.5B, of Llama-3.1-8B, and one between for whatever is written to a disk."""

TOY = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def make_config(stage: Stage, shape: str, **changes: Any) -> Any:
    """Return the configuration of a shape, or of its toy."""
    values = {**SHAPES[shape], **(TOY if stage.toy else {}), "max_position_embeddings": 4096, **changes}
    return transformers.AutoConfig.for_model(**values)


def make_base(
    stage: Stage, config: Any, dtype: torch.dtype = torch.bfloat16, name: str = "random"
) -> BaseModel:
    """Return a model of random weights, made where it will lie."""
    torch.manual_seed(0)
    with stage.device:
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    # Buffers that a library makes elsewhere come along.
    model.to(stage.device)
    if stage.device.type == "cuda":
        fuse_norms(model)
    return hold(model, stage.device, dtype, name_or_path=name)


def save_model(stage: Stage, base: BaseModel) -> Path:
    """Write a model with the demo's tokenizer, as a user's folder is; return the folder."""
    folder = stage.folder / "model"
    base.model.config.use_cache = True
    base.model.save_pretrained(folder)
    for file in model_path().glob("tokenizer*"):
        shutil.copy(file, folder / file.name)
    return folder


def make_geometry(base: BaseModel, *, rank: int, length: int, checkpointing: bool = False) -> Geometry:
    """Return the geometry of a pack on every linear layer."""
    return Geometry(
        rank_max=rank,
        micro_step_lengths=(length,),
        eval_rows=8,
        targets=resolve_targets(base.model, ["all"]),
        dtype=str(base.dtype).removeprefix("torch."),
        attn_implementation="sdpa",
        gradient_checkpointing=checkpointing,
    )


def random_split(examples: int, length: int, vocab: int, share: float = 0.5) -> Split:
    """Return examples of one length whose last tokens, a share of them, are supervised."""
    generator = np.random.default_rng(0)
    target = np.zeros((examples, length), dtype=bool)
    target[:, length - max(1, int(share * length)) :] = True
    return Split(
        tokens=generator.integers(1, vocab, examples * length).astype(np.int32),
        offsets=np.arange(examples + 1, dtype=np.int64) * length,
        target=target.reshape(-1),
    )


def make_batch(base: BaseModel, *, trials: int, rows: int, length: int) -> Batch:
    """Return the batch of one micro-step, full rows without padding."""
    split = random_split(trials * rows, length, base.summary.vocab_size)
    chosen = np.arange(trials * rows).reshape(trials, rows)
    return collate(split, list(chosen), length, base.device)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, numbers to four digits."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value
