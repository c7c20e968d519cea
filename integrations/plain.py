"""A trial's configuration as YAML or JSON, for people and for programs that we do not know."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ..spaces.arguments import scheduler_arguments
from ..study.handover import Handover, provenance
from ..whole_files import check_free, write_text
from .exporter import Export


def configuration(handed: Handover) -> dict[str, Any]:
    """Return what ``export_yaml`` writes, as plain values."""
    trial, seen, run = handed.trial, handed.examples, handed.run()
    schedule = scheduler_arguments(trial.params, run.steps)
    model, data = handed.objective.model, handed.objective.data
    return {
        "study": handed.study.name,
        "trial": trial.number,
        "state": handed.state,
        "eval_loss": trial.value,
        "base_eval_loss": handed.base_loss,
        "model": {
            "name_or_path": model.name_or_path,
            "revision": handed.revision,
            "dtype": handed.geometry.dtype,
            **({} if model.quantization_bit is None else {"quantization_bit": model.quantization_bit}),
        },
        "data": {
            "train": data.train if not data.more else _files(handed),
            "validation": data.validation,
            "test": data.test,
            **({} if data.more else {"format": handed.data.format}),
            **({"columns": list(data.columns)} if data.columns and not data.more else {}),
            "template": handed.data.template,
            "cutoff_len": handed.data.cutoff_len,
            "fingerprint": handed.data.fingerprint,
        },
        "hyperparameters": trial.params.to_dict() | {"max_grad_norm": handed.objective.max_grad_norm},
        "selected_at": {
            "examples": seen,
            "train_examples": handed.data.train,
            "epochs": round(seen / max(1, handed.data.train), 4),
            "share_of_full_run": round(run.share, 4),
        },
        "full_run": {
            "num_train_epochs": run.epochs,
            "steps": run.steps,
            "warmup_steps": run.warmup_steps,
            **({"lr_scheduler_kwargs": schedule} if schedule else {}),
        },
    }


def _files(handed: Handover) -> list[dict[str, Any]]:
    """Return several files to train on, each with its format, and its columns where these were said."""
    return [
        {"path": one.path, "format": kind, **({"columns": list(one.columns)} if one.columns else {})}
        for one, kind in zip(handed.objective.data.train_files, handed.formats, strict=True)
    ]


def export_yaml(handed: Handover) -> str:
    """Return a trial's configuration as YAML."""
    return comments(provenance(handed)) + dump_yaml(configuration(handed))


def export_json(handed: Handover) -> str:
    """Return a trial's configuration as JSON, what ``export_yaml`` says in comments under ``notes``."""
    values = configuration(handed) | {"notes": list(provenance(handed))}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def made(text: str, to: Path | None, force: bool) -> Export:
    """Return a text, or write it into a file that is free or is this very text."""
    if to is None:
        return Export(text=text)
    check_free(to, text, force=force)
    write_text(to, text)
    return Export(written=(to,))


def comments(sentences: Iterable[str]) -> str:
    """Return sentences as comment lines; a line break inside one never leaves the comment."""
    lines = [line for sentence in sentences for line in sentence.splitlines()]
    return "".join(f"# {line}\n" for line in lines)


def dump_yaml(values: dict[str, Any]) -> str:
    """Return YAML in the given order; floats keep all their digits and are floats to every reader.

    PyYAML writes ``1e-05`` as ``1.0e-05``, without which a YAML 1.1 reader would take it for a string.
    """
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
