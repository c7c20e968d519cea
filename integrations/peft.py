"""A kept adapter as a folder that ``peft.PeftModel.from_pretrained`` loads.

Works on arrays alone: neither torch nor PEFT is needed to hand an adapter over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from .. import digest
from ..errors import ReportError, StorageError
from ..spaces.arguments import lora_config
from ..study.checkpoint_format import FORMATS, PARAMS
from ..study.handover import Handover, provenance
from ..study.offered import QUANTIZED_AS
from ..study.records import TrialRecord
from ..whole_files import write_bytes, write_text
from .card import card
from .exporter import Export
from .tokenizer import beside_adapter, notes

PREFIX = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
STUDY = "loratune_study"
"""Key in the metadata of the weights: which study they are of."""
TRANSPOSED = ("GPT2", "OpenAIGPT")
"""How names of architectures begin whose layers are Transformers' ``Conv1D``, weights ``[in, out]``."""

LOAD = """from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, GenerationConfig

folder = "path/to/this/folder"
model = AutoPeftModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
stops = GenerationConfig.from_pretrained(folder)  # for model.generate(generation_config=stops)
"""

Tensors = dict[str, npt.NDArray[np.generic]]


def export(handed: Handover, folder: Path, force: bool = False) -> Export:
    """Write a trial's adapter as a PEFT folder, which is made if missing.

    An adapter of the same study that lies there is replaced. Raises ``ReportError``.

    Args:
        handed: the trial, with its weights, and the base model's folder, whose tokenizer comes along.
        folder: where to.
        force: write into a folder that holds other things.
    """
    assert handed.adapter is not None, "a trial without weights is no adapter"
    tensors, layers = _tensors(handed.adapter, handed.trial)
    config = adapter_config(handed, layers)
    beside = beside_adapter(handed.data.endings, handed.base)
    check_place(handed, folder, force)
    # A folder with this file is an adapter: it goes first and comes last, so a torn export is none.
    config_file = folder / "adapter_config.json"
    try:
        config_file.unlink(missing_ok=True)
    except OSError as error:
        raise ReportError(f"{config_file}: cannot be replaced ({error.strerror or error})") from error
    weights = safetensors.numpy.save(tensors, metadata={"format": "pt", STUDY: _study_of(handed)})
    write_bytes(folder / WEIGHTS, weights)
    for name, content in beside.items():
        write_bytes(folder / name, content)
    write_text(folder / "README.md", _readme(handed, config))
    write_text(config_file, json.dumps(config, indent=2, sort_keys=True) + "\n")
    sentences = [note[0].upper() + note[1:] + "." for note in notes(handed.data.endings, handed.base)]
    return Export(written=(folder,), notes=(*sentences, *provenance(handed)))


def why_unusable(adapter: Path, trial: TrialRecord) -> str | None:
    """Return in words why a kept adapter cannot be handed over; None where it can."""
    if not adapter.is_file():
        return "is missing"
    try:
        _tensors(adapter, trial)
    except (ReportError, StorageError) as error:
        return f"cannot be used ({error})"
    return None


def adapter_config(handed: Handover, layers: tuple[str, ...]) -> dict[str, Any]:
    """Return PEFT's ``LoraConfig`` of a trial as JSON; only fields that PEFT 0.18 and later all know."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": handed.model_name,
        "revision": handed.revision,
        **lora_config(handed.trial.params),
        "target_modules": list(layers),
        "bias": "none",
        "fan_in_fan_out": handed.model.architecture.startswith(TRANSPOSED),
        "modules_to_save": None,
        "inference_mode": True,
        "init_lora_weights": True,
    }


def _tensors(adapter: Path, trial: TrialRecord) -> tuple[Tensors, tuple[str, ...]]:
    """Read a kept adapter and return its tensors under PEFT's names, and its layers in the file's order."""
    try:
        with safetensors.safe_open(adapter, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") not in FORMATS:
                raise ReportError(
                    f"{adapter}: is not an adapter of loratune (format {metadata.get('format')!r})"
                )
            if metadata.get("trial", str(trial.number)) != str(trial.number):
                raise ReportError(
                    f"{adapter}: holds trial {metadata['trial']}, not trial {trial.number}; name its own file"
                )
            digest.check(adapter)
            found = {
                key.removeprefix(PARAMS): file.get_tensor(key)
                for key in file.keys()  # noqa: SIM118 - the file is no dictionary
                if key.startswith(PARAMS)
            }
    except (OSError, safetensors.SafetensorError) as error:
        raise ReportError(f"{adapter}: cannot be read as an adapter ({error})") from error
    layers = tuple(key.removesuffix(".lora_A") for key in found if key.endswith(".lora_A"))
    if not layers:
        raise ReportError(f"{adapter}: holds no adapter weights")
    rank = trial.params.lora_rank
    tensors: Tensors = {}
    for layer in layers:
        a, b = found[f"{layer}.lora_A"], found.get(f"{layer}.lora_B")
        if b is None or a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
            raise ReportError(f"{adapter}: layer {layer} does not hold matrices of rank {rank}")
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise ReportError(f"{adapter}: layer {layer} holds weights that are not finite numbers")
        tensors[f"{PREFIX}{layer}.lora_A.weight"] = np.ascontiguousarray(a)
        tensors[f"{PREFIX}{layer}.lora_B.weight"] = np.ascontiguousarray(b)
    return tensors, layers


def matrices(
    adapter: Path, trial: TrialRecord
) -> dict[str, tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return A and B of each layer of a kept adapter; raises ``ReportError``."""
    tensors, layers = _tensors(adapter, trial)
    names = {layer: f"{PREFIX}{layer}.lora_" for layer in layers}
    return {layer: (tensors[f"{name}A.weight"], tensors[f"{name}B.weight"]) for layer, name in names.items()}


def check_place(handed: Handover, folder: Path, force: bool) -> None:
    """Refuse a place that holds something else than an adapter of this study."""
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"{folder}: is a file; name a folder for the adapter")
    if force or not folder.is_dir() or not any(folder.iterdir()):
        return
    weights = folder / WEIGHTS
    if not weights.exists():
        raise ReportError(f"{folder}: is not empty and holds no adapter; name another folder, or --force")
    try:
        with safetensors.safe_open(weights, framework="np") as file:
            made_by = (file.metadata() or {}).get(STUDY)
    except (OSError, safetensors.SafetensorError):
        made_by = None
    if made_by != _study_of(handed):
        raise ReportError(
            f"{folder}: holds an adapter that is not of study {handed.study.name}; "
            "name another folder, or --force"
        )


def _study_of(handed: Handover) -> str:
    """Return what tells a study from others, also from one of the same name elsewhere."""
    return f"{handed.study.name} {handed.study.created_at.isoformat()}"


def _readme(handed: Handover, config: dict[str, Any]) -> str:
    """Return the card that a folder of weights is read by."""
    front = {
        "base_model": config["base_model_name_or_path"],
        "library_name": "peft",
        "tags": ["lora", "loratune"],
    }
    return card(handed, title="LoRA adapter", front=front, load=_load(handed))


def _load(handed: Handover) -> str:
    """Return how the folder is loaded, on a base of as few bits as it was trained on."""
    bits = handed.objective.model.quantization_bit
    if bits is None:
        return LOAD
    settings = ", ".join(f"{name}={value!r}" for name, value in QUANTIZED_AS[bits].items())
    return LOAD.replace("import AutoTokenizer, G", "import AutoTokenizer, BitsAndBytesConfig, G").replace(
        "from_pretrained(folder)",
        f"from_pretrained(folder, quantization_config=BitsAndBytesConfig({settings}))",
        1,
    )
