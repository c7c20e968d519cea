"""A model of its own, as ``AutoModelForCausalLM`` loads it: the base with an adapter folded into its weights.

The folding needs torch and is done by ``objectives/training/merging.py``; here its files get their place,
with tokenizer, stops and card beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ReportError
from ..study.handover import Handover, provenance
from ..whole_files import write_bytes, write_text
from .card import card
from .exporter import Export
from .tokenizer import beside_adapter, notes

CONFIG = "config.json"
"""A folder with this file is a model: it goes first and comes last, so a torn export is none."""

MARK = "loratune.json"
"""Says which trial a folder is of."""

LOAD = """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
model = AutoModelForCausalLM.from_pretrained(folder)  # stops where its answers ended in training
tokenizer = AutoTokenizer.from_pretrained(folder)
"""


def check_place(handed: Handover, folder: Path, force: bool) -> None:
    """Raise ``ReportError`` where a place holds something else than a merged model of this study."""
    if folder.exists() and not folder.is_dir():
        raise ReportError(f"{folder}: is a file; name a folder for the model")
    if force or not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        made_by = json.loads((folder / MARK).read_bytes()).get("study")
    except (OSError, ValueError, AttributeError):
        raise ReportError(
            f"{folder}: is not empty and holds no model of loratune; name another folder, or --force"
        ) from None
    if made_by != _study_of(handed):
        raise ReportError(
            f"{folder}: holds a model that is not of study {handed.study.name}; "
            "name another folder, or --force"
        )


def export(handed: Handover, folder: Path, force: bool = False) -> Export:
    """Move a folded model into its folder, which is made if missing; raises ``ReportError``.

    Args:
        handed: the trial, with the folder of the folded model, and of the base, whose tokenizer comes along.
        folder: where to.
        force: write into a folder that holds other things.
    """
    assert handed.folded is not None, "an adapter that was not folded in is no model"
    check_place(handed, folder, force)
    beside = beside_adapter(handed.data.endings, handed.base)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (CONFIG, *(path.name for path in folder.glob("model*.safetensors*"))):
            (folder / old).unlink(missing_ok=True)
        # The same disk: the folder was made beside this one.
        moved = [path for path in sorted(handed.folded.iterdir()) if path.name not in (CONFIG, *beside)]
        for path in moved:
            path.replace(folder / path.name)
    except OSError as error:
        raise ReportError(f"{folder}: cannot be written ({error.strerror or error})") from error
    for name, content in beside.items():
        write_bytes(folder / name, content)
    write_text(folder / "README.md", _card(handed))
    for path in moved:  # as readable as any file of the user's, whoever wrote it
        (folder / path.name).chmod((folder / "README.md").stat().st_mode)
    mark = {"study": _study_of(handed), "trial": handed.trial.number, "data": handed.data.fingerprint}
    write_text(folder / MARK, json.dumps(mark, indent=2) + "\n")
    write_bytes(folder / CONFIG, (handed.folded / CONFIG).read_bytes())
    sentences = [note[0].upper() + note[1:] + "." for note in notes(handed.data.endings, handed.base)]
    return Export(written=(folder,), notes=(*sentences, *provenance(handed)))


def _study_of(handed: Handover) -> str:
    """Return what tells a study from others, also from one of the same name elsewhere."""
    return f"{handed.study.name} {handed.study.created_at.isoformat()}"


def _card(handed: Handover) -> str:
    front: dict[str, Any] = {
        "base_model": handed.model_name,
        "library_name": "transformers",
        "tags": ["lora", "merged", "loratune"],
    }
    return card(handed, title="A base model with a LoRA adapter folded in", front=front, load=LOAD)
