"""Checkpoints of the fake worker: small files of the true format, whose ``state`` stands for the weights.

The state is a chain of hashes over what was trained, so a lost or foreign file shows in every later loss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ... import digest
from ...atomic import write_atomically
from ...spaces.params import LoraParams
from ...study.checkpoint_format import GROUPS, LOSSES, MOMENTS
from .surface import LAYERS, unit

WIDTH = 4
"""Inputs and outputs of a fake layer."""


def beginning(params: LoraParams, seed: int) -> str:
    """Return the state of a trial that has seen nothing."""
    return hashlib.sha256(f"{json.dumps(params.to_dict(), sort_keys=True)} {seed}".encode()).hexdigest()


def after(state: str, round_number: int) -> str:
    """Return the state that a round turns another one into."""
    return hashlib.sha256(f"{state} {round_number}".encode()).hexdigest()


def save(
    path: Path,
    *,
    trial: int,
    round_number: int,
    attempt: int,
    seed: int,
    examples: int,
    params: LoraParams,
    state: str,
    kept: tuple[Sequence[float], str] | None = None,
) -> None:
    """Write a file atomically; ``kept``: losses and best state of a trial of full length."""
    value = unit(state, "weights")
    tensors = {
        f"{group}/{layer}.{matrix}": np.full(shape, value, dtype=np.float32)
        for group in GROUPS
        for layer in LAYERS
        for matrix, shape in (("lora_A", (params.lora_rank, WIDTH)), ("lora_B", (WIDTH, params.lora_rank)))
    }
    metadata = {
        **digest.LABELS,
        "trial": str(trial),
        "quantum": str(round_number),
        "attempt": str(attempt),
        "seed": str(seed),
        "examples": str(examples),
        "steps": str(examples // params.batch_size),
        "params": json.dumps(params.to_dict(), sort_keys=True),
        "state": state,
    }
    if kept is not None:
        metadata |= {LOSSES: json.dumps(list(kept[0])), "kept": kept[1]}
    write_atomically(path, digest.seal(safetensors.numpy.save(tensors, metadata=metadata)), synced=False)


def measured(path: Path, params: LoraParams) -> tuple[int, str]:
    """Return (rounds, state) of an adapter; raises ``ValueError`` where it is of other ``params``."""
    digest.check(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata() or {})
    if LoraParams.from_dict(json.loads(metadata["params"])) != params:
        raise ValueError(f"it is of {metadata['params']}")
    return int(metadata["quantum"]), metadata["state"]


def load(path: Path, trial: int, params: LoraParams, seed: int) -> tuple[int, str, list[float], str]:
    """Return (training examples, state, losses so far, best state so far).

    The last two are those of a trial of full length. Raises ``ValueError`` where the file belongs to
    something else, ``DamagedFile`` where its bytes are not those that were written.
    """
    digest.check(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata() or {})
        names = set(file.keys())
    if not any(name.startswith(MOMENTS) for name in names):
        raise ValueError("it holds no optimizer state")
    own = LoraParams.from_dict(json.loads(metadata["params"]))
    found = (int(metadata["trial"]), int(metadata["seed"]), own)
    if found != (trial, seed, params):
        raise ValueError(f"it is of trial {found[0]}, seed {found[1]}, {found[2]}")
    losses = json.loads(metadata.get(LOSSES, "[]"))
    return int(metadata["examples"]), metadata["state"], losses, metadata.get("kept", "")
