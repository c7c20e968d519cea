"""A base model's folder, looked at without loading anything: is it one, and is it whole?

Also tells a mistyped folder from a Hub id. Knows nothing of what the files hold but JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ModelError, nearest
from .size import cached_snapshot, is_file, is_folder

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

UNSAFE_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.gguf")

TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)

_WITHOUT_OWNER = {"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "openai-gpt"}
"""Causal language models whose Hub ids have no owner; no other can be added there."""


def local_folder(name_or_path: str) -> Path | None:
    """Return the folder of a model that lies in one, None for a Hub id.

    Raises:
        ModelError: it is neither; names the nearest folder beside it.
    """
    folder = Path(name_or_path).expanduser()
    if is_folder(folder):
        if not _is_text(str(folder)):
            # Tokenizers, in Rust, takes no other path.
            raise ModelError(f"{name_or_path}: the name of a model's folder must be UTF-8; rename it")
        if not (folder / "config.json").is_file():
            raise ModelError(f"{name_or_path}: {_without_config(folder)}")
        return folder
    if is_file(folder):
        raise ModelError(
            f"{name_or_path}: is a file; give the folder that holds config.json and model.safetensors"
        )
    path = (
        name_or_path.startswith((".", "/", "~"))
        or "\\" in name_or_path
        or name_or_path.count("/") > 1
        or not name_or_path.strip()
    )
    owner, slash, _ = name_or_path.partition("/")
    beside = bool(slash) and is_folder(Path(owner))
    alone = not slash and name_or_path not in _WITHOUT_OWNER
    if path or ((alone or beside) and not is_folder(cached_snapshot(name_or_path))):
        cure = "give a model's folder or a Hub id such as org/name"
        if beside and not path:
            cure = f"give a model's folder, or, for the Hub's, run `hf download {name_or_path}` first"
        raise ModelError(f"{name_or_path}: {_missing(folder)}; {cure}")
    return None


def check_folder(name_or_path: str, folder: Path) -> None:
    """Raise ``ModelError`` where a folder's weights are missing or not safetensors."""
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{name_or_path}: the folder holds a LoRA adapter beside the model; "
            "merge it with merge_and_unload and save, or move adapter_config.json away"
        )
    if any((folder / name).is_file() for name in WEIGHTS):
        return
    unsafe = sorted(path.name for pattern in UNSAFE_WEIGHTS for path in folder.glob(pattern))
    if unsafe:
        raise ModelError(
            f"{name_or_path}: the weights are in {unsafe[0]}, which is not safetensors; convert them "
            "once where you trust the file, with AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)"
        )
    raise ModelError(
        f"{name_or_path}: the folder has no weights (model.safetensors); "
        "download it whole or save it with model.save_pretrained"
    )


def check_tokenizer(name_or_path: str, folder: Path) -> None:
    """Raise ``ModelError`` where a folder holds no tokenizer."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(
            f"{name_or_path}: the folder has no tokenizer (such as tokenizer.json); "
            "save the model's own there with tokenizer.save_pretrained"
        )


def is_quantized(folder: Path) -> bool:
    """Return whether a folder's configuration says that its weights are quantized."""
    return bool(quantizations(folder))


def quantizations(folder: Path) -> list[dict[str, Any]]:
    """Return how a folder's weights are quantized, as its configuration says; nothing where they are not."""
    try:
        shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # whoever loads it says what is wrong
        return []
    parts = (shape, shape.get("text_config")) if isinstance(shape, dict) else ()
    found = [part.get("quantization_config") for part in parts if isinstance(part, dict)]
    return [one if isinstance(one, dict) else {} for one in found if one is not None]


def _missing(folder: Path) -> str:
    """Say from where on a path does not exist, and which folder's name is near."""
    way = [*reversed(folder.parents), folder]
    first = next((part for part in way if not is_folder(part)), folder)
    try:
        beside = [other.name for other in first.parent.iterdir() if other.is_dir()]
    except OSError:
        beside = []
    what = "there is no such folder" if first == folder else f"there is no such folder, nor {first}"
    looked = "" if folder.is_absolute() else f", looked for in {Path.cwd()}"
    return what + nearest(first.name, beside) + looked


def _is_text(path: str) -> bool:
    """Return whether the bytes of a path are text; those that are not are held as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in path)


def _without_config(folder: Path) -> str:
    """Say why a folder without config.json is no base model."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        try:
            base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        except (ValueError, AttributeError, OSError):
            base = None
        return f"is a LoRA adapter, not a base model; give its base model{f' {base!r}' if base else ''}"
    return "the folder has no config.json; give the folder that model.save_pretrained wrote"
