"""What an adapter's folder holds beside the adapter, so that it is asked and stops as it was trained.

These are the tokenizer, the chat template that training used, and where generation stops. The base model's
files are copied as they are, apart from what training did otherwise. Loads no Transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ReportError
from ..study.facts import Endings
from ..study.stop_tokens import ending_sentence, ending_warnings, eos_token_ids

TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"
CHAT_TEMPLATE = "chat_template.jinja"

TEMPLATES = (CHAT_TEMPLATE, "chat_template.json")
"""Files that a base model may keep its chat template in, beside the tokenizer's configuration."""

FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
"""Files that a tokenizer may lie in, beside its configuration."""

Files = dict[str, bytes]


def beside_adapter(endings: Endings, base: Path | None) -> Files:
    """Return the files that go beside an adapter, by name.

    Args:
        endings: how answers ended in training.
        base: the folder of the base model; None where it is not on this machine, then the tokenizer is left
            out.

    Raises:
        ReportError: a file of the base model cannot be read.
    """
    files: Files = {} if base is None else _tokenizer(endings, base)
    generation = _generation(endings, base)
    if generation:
        files[GENERATION_CONFIG] = _json(generation)
    return files


def notes(endings: Endings, base: Path | None) -> tuple[str, ...]:
    """Return sentences on what such a folder holds and lacks."""
    sentence = ending_sentence(endings)
    missing = (
        ("the base model is not on this machine, so the folder holds no tokenizer: take the base model's",)
        if base is None
        else ()
    )
    return (*((sentence,) if sentence else ()), *ending_warnings(endings), *missing)


def _tokenizer(endings: Endings, base: Path) -> Files:
    wanted = list(FILES)
    template = endings.chat_template
    config = _read_json(base / TOKENIZER_CONFIG)
    if not template:
        wanted += [*TEMPLATES, *_relative(base, "additional_chat_templates/*.jinja")]
    if "auto_map" in config:  # code of its own, which the user has allowed to run
        wanted += _relative(base, "tokenization*.py")
    files = {name: _read(base / name) for name in wanted if (base / name).is_file()}
    # Without config.json beside it, only this says which tokenizer it is.
    if endings.tokenizer_class:
        config.setdefault("tokenizer_class", endings.tokenizer_class)
    if template:
        config["chat_template"] = template
        files[CHAT_TEMPLATE] = template.encode()
    unchanged = config == _read_json(base / TOKENIZER_CONFIG)
    if config:
        files[TOKENIZER_CONFIG] = _read(base / TOKENIZER_CONFIG) if unchanged else _json(config)
    return files


def _generation(endings: Endings, base: Path | None) -> dict[str, Any]:
    """Return the base model's generation configuration, stopping where training ended answers too."""
    config = {} if base is None else _read_json(base / GENERATION_CONFIG)
    if not config and base is not None:
        model = _read_json(base / "config.json")
        names = ("bos_token_id", "eos_token_id", "pad_token_id")
        config = {name: model[name] for name in names if model.get(name) is not None}
    config.pop("_from_model_config", None)
    own = config.get("eos_token_id", list(endings.model_ids))
    stops = eos_token_ids(endings, [own] if isinstance(own, int) else list(own or ()))
    if stops:
        config["eos_token_id"] = stops[0] if len(stops) == 1 else stops
    return config


def _relative(base: Path, pattern: str) -> list[str]:
    return [str(path.relative_to(base)) for path in sorted(base.glob(pattern))]


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, an empty one where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is not readable JSON ({error}); mend or replace it") from error
    if not isinstance(found, dict):
        raise ReportError(f"{path}: holds no JSON object; mend or replace it")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror or error})") from error


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
