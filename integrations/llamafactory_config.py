"""A configuration for LLaMA-Factory, as what it comes to here: a search, and the run that it would have been.

Keys and defaults are those of LLaMA-Factory 0.9.5 and of Transformers' ``TrainingArguments``. Looks up the
files of data sets (``llamafactory_data.py``), opens no model and no data.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..errors import UsageError, shown
from ..spaces.params import FIELDS, SCHEDULERS
from ..spaces.parse import number
from ..study.full_run import EPOCHS
from .llamafactory import TEMPLATES
from .llamafactory_data import data_sets
from .trainer_flags import without_meaning

MODEL = "model_name_or_path"
"""The key that names the model."""

MARKS = frozenset({MODEL, "finetuning_type", "stage", "per_device_train_batch_size", "dataset_dir"})
"""Keys that such files have, and none of ours."""

_SAME = ("cutoff_len", "quantization_bit", "trust_remote_code", "max_grad_norm", "seed")
_OPTIONS = {MODEL: "model", "model_revision": "revision", **dict(zip(_SAME, _SAME, strict=True))}
"""Its keys → the options of a search that they are."""

_OTHERWISE = ("warmup_ratio", "lr_scheduler_type")
"""Hyperparameters of the same name that are read with others, or have another default there."""

_PARAMS: dict[str, Any] = {
    **{
        name: one.default
        for name, one in FIELDS.items()
        if one.default is not None and name not in _OTHERWISE
    },
    "learning_rate": 5e-5,
    "lora_rank": 8,
}
"""Hyperparameters that have the same name there, and what they are where the file leaves them out."""

_READ = frozenset(
    {
        *_OPTIONS,
        *_PARAMS,
        "lora_alpha",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "lr_scheduler_type",
        "warmup_ratio",
        "warmup_steps",
        "num_train_epochs",
        "max_steps",
        "val_size",
        "eval_dataset",
        "dataset",
        "dataset_dir",
        "mix_strategy",
        "template",
        "stage",
        "finetuning_type",
        "adapter_name_or_path",
    }
)
"""Keys that are read here, into whatever."""

KEYS = _READ | {"gradient_checkpointing"}
"""Its keys that options of a search may have the names of."""

CUTOFF_LEN = 2048
"""Tokens of the longest example where the file does not say."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerRun:
    """What a configuration for a trainer comes to."""

    options: Mapping[str, Any]
    """Options of a search, by the names of ``app.options``."""
    params: Mapping[str, Any]
    """The hyperparameters that it trains with, but for the warm-up."""
    warmup_ratio: float
    """The share of its steps that warm up; 0 where it is a number of them."""
    warmup_steps: int
    """That number; 0 where it is a share."""
    max_steps: int | None
    """Its optimizer steps; None where they follow from its epochs."""
    epochs: float
    """Its epochs."""
    held_out: float
    """The share of the data that it evaluates on; from 1 on a number of examples."""
    most: tuple[int | None, ...]
    """Records that it takes of each data set at most; None for all."""
    packed: bool
    """Whether several records are one example there."""
    mixed: bool
    """Whether data sets are mixed there, so that some records come more than once or never."""
    notes: tuple[str, ...]
    """What is otherwise here than there, in clauses."""


def read_run(content: Mapping[str, Any], path: Path, flags: Collection[str] = ()) -> TrainerRun:
    """Return what a configuration comes to.

    Args:
        content: what the file says.
        path: the file, beside which a registry of data sets may lie.
        flags: options of a search that go over it; with ``data`` no data set is looked up.

    Raises:
        UsageError: it trains otherwise than by LoRA on texts, or its data is not to be had as files;
            names the key.
    """
    given = {name: value for name, value in content.items() if value is not None}
    _check(given)
    options = {ours: given[name] for name, ours in _OPTIONS.items() if name in given}
    options.setdefault("cutoff_len", CUTOFF_LEN)
    notes: list[str] = []
    samples = _whole(given, "max_samples", 0) or None
    most: tuple[int | None, ...] = ()
    mixed = False
    if "data" not in flags:
        found = data_sets({**given, "eval_dataset": None} if "validation" in flags else given, path)
        options |= found.options
        mixed = found.mixed
        notes += found.notes
        most = tuple(
            min((one for one in (samples, records) if one is not None), default=None)
            for records in found.records
        )
    elif "eval_dataset" in given and "validation" not in flags:
        notes.append("its eval_dataset is not looked up beside --data; give --validation")
    plain = given.get("stage") == "pt"
    packed = given.get("packing", plain) is not False or bool(given.get("neat_packing"))
    if plain:
        options["format"] = "text"
    elif "template" not in flags:
        options |= _template(given, notes)
    if packed and plain:
        notes.append("stage pt packs texts into blocks of cutoff_len; here each is an example of its own")
    params, ratio, steps = _params(given, notes)
    max_steps = max(0, int(_number(given, "max_steps", -1, least=-math.inf))) or None
    epochs, held_out = _number(given, "num_train_epochs", EPOCHS), _number(given, "val_size", 0.0)
    notes += _length_notes(epochs, max_steps, params["batch_size"])
    if held_out and "validation" not in flags and "validation" not in options:
        notes.append(f"instead of its val_size of {held_out:g}, 15 % is held out, and 15 % for a test set")
    notes += _left_notes(given)
    return TrainerRun(
        options=options,
        params=params,
        warmup_ratio=ratio,
        warmup_steps=steps,
        max_steps=max_steps,
        epochs=epochs,
        held_out=held_out,
        most=most,
        packed=packed,
        mixed=mixed,
        notes=tuple(notes),
    )


def _length_notes(epochs: float, max_steps: int | None, batch_size: int) -> list[str]:
    """Say how its length is given to a full run, where it is not the usual one."""
    if max_steps is not None:
        examples = max_steps * batch_size
        return [f"its {max_steps} steps are a full run's, as tune train --examples {examples}"]
    usual = epochs == EPOCHS
    return [] if usual else [f"its {epochs:g} epochs are a full run's, as tune train --epochs {epochs:g}"]


def _left_notes(given: Mapping[str, Any]) -> list[str]:
    """Name the keys that are not read, but for those that change nothing of what is learned."""
    left = [name for name in given if name not in _READ and not without_meaning(name, given[name])]
    words = ", ".join(f"{name} {shown(given[name])}{_slip(name)}" for name in left)
    return [f"not taken over: {words}"] if left else []


def _slip(name: str) -> str:
    """Return what a key was probably meant to be, where it is a letter or two from one that is read."""
    close = difflib.get_close_matches(name, _READ, n=1, cutoff=0.9)
    return f" (did you mean {close[0]}?)" if close else ""


def _check(given: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for what trains otherwise."""
    if not isinstance(given.get(MODEL), str) or not given[MODEL].strip():
        raise UsageError(f"{MODEL}: {shown(given.get(MODEL))} is no model; name a folder or a Hub id")
    kind, stage = given.get("finetuning_type", "lora"), given.get("stage", "sft")
    if kind != "lora":
        raise UsageError(f"finetuning_type: {shown(kind)} has no adapters to search for; a search takes lora")
    if stage not in ("sft", "pt"):
        raise UsageError(f"stage: {shown(stage)} is not trained here; a search takes sft or pt")
    if "adapter_name_or_path" in given:
        raise UsageError(
            "adapter_name_or_path: a search begins with fresh adapters; merge this one into the model first "
            "(llamafactory-cli export) and name that as the model"
        )


def _template(given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    named = _text(given, "template", "")
    ours = {theirs: ours for ours, theirs in TEMPLATES.items()}
    if named in ours:
        return {"template": ours[named]}
    if named:
        notes.append(f"for the template {named} the model's own chat template, default where it has none")
    else:
        notes.append("without a template the model's own; where it has none default, there empty")
    return {}


def _params(given: Mapping[str, Any], notes: list[str]) -> tuple[dict[str, Any], float, int]:
    """Return the hyperparameters, and the warm-up as a share or in steps."""
    found = {name: given.get(name, default) for name, default in _PARAMS.items()}
    target = found["lora_target"]
    if isinstance(target, list):
        target = ",".join(map(str, target))
    found["lora_target"] = _text(found | {"lora_target": target}, "lora_target", "all")
    found["lora_alpha"] = given.get("lora_alpha", 2 * _whole(given, "lora_rank", 8))
    found["batch_size"] = _whole(given, "per_device_train_batch_size", 8) * _whole(
        given, "gradient_accumulation_steps", 1
    )
    ratio, steps = _number(given, "warmup_ratio", 0.0), _number(given, "warmup_steps", 0.0)
    named = _text(given, "lr_scheduler_type", "linear")
    if named == "constant":  # it knows no warm-up, whatever else is said
        named, ratio, steps = "constant_with_warmup", 0.0, 0.0
    if ratio and steps:
        raise UsageError(
            "warmup_ratio, warmup_steps: which of them counts hangs on the version of Transformers; give one"
        )
    if named not in SCHEDULERS:
        notes.append(f"the schedule {named} is not known here; trial 0 has cosine")
        named = "cosine"
    found["lr_scheduler_type"] = named
    if steps < 1:  # as Transformers 5 takes a fraction
        ratio, steps = ratio or steps, 0.0
    return found, ratio, int(steps)


def _text(given: Mapping[str, Any], name: str, default: str) -> str:
    value = given.get(name, default)
    if not isinstance(value, str):
        raise UsageError(f"{name}: {shown(value)} is not a word")
    return value


def _number(given: Mapping[str, Any], name: str, default: float, *, least: float = 0.0) -> float:
    try:
        value = float(number(given.get(name, default)))
    except ValueError:
        raise UsageError(f"{name}: {shown(given[name])} is not a number") from None
    if value < least:
        raise UsageError(f"{name}: {shown(given[name])} is below 0")
    return value


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    value = _number(given, name, default)
    if name in given and (not value.is_integer() or value < 1):
        raise UsageError(f"{name}: {shown(given[name])} is not a whole number of 1 or more")
    return int(value)
