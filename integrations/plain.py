"""A trial's configuration as YAML or JSON, for people and for programs that we do not know."""

from __future__ import annotations

import json
from typing import Any

import yaml

from ..reports.full_run import EPOCHS, comments, full_run, provenance
from ..reports.view import StudyView


def configuration(view: StudyView, number: int | None = None, *, epochs: float = EPOCHS) -> dict[str, Any]:
    """Return what ``export_yaml`` writes, as plain values; raises ``ReportError`` without such a trial."""
    trial = view.trial(number)
    seen = view.examples_seen(trial)
    run = full_run(view, trial.params, seen, epochs=epochs)
    model, data = view.objective.model, view.objective.data
    return {
        "study": view.study.name,
        "trial": trial.number,
        "state": trial.state,
        "eval_loss": trial.value,
        "base_eval_loss": view.base_loss,
        "model": {
            "name_or_path": model.name_or_path,
            "revision": view.model.revision or model.revision,
            "dtype": view.geometry.dtype,
        },
        "data": {
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
            "format": view.data.format,
            **({"columns": list(data.columns)} if data.columns else {}),
            "template": view.data.template,
            "cutoff_len": view.data.cutoff_len,
            "fingerprint": view.data.fingerprint,
        },
        "hyperparameters": trial.params.to_dict() | {"max_grad_norm": view.objective.max_grad_norm},
        "selected_at": {
            "examples": seen,
            "train_examples": view.data.train,
            "epochs": round(seen / max(1, view.data.train), 4),
            "share_of_full_run": round(run.share, 4),
        },
        "full_run": {
            "num_train_epochs": run.epochs,
            "steps": run.steps,
            "warmup_steps": run.warmup_steps,
        },
    }


def export_yaml(view: StudyView, number: int | None = None, *, epochs: float = EPOCHS) -> str:
    """Return a trial's configuration as YAML, the best one's where no number is given."""
    trial = view.trial(number)
    run = full_run(view, trial.params, view.examples_seen(trial), epochs=epochs)
    values = configuration(view, number, epochs=epochs)
    return comments(provenance(view, trial, run)) + dump_yaml(values)


def export_json(view: StudyView, number: int | None = None, *, epochs: float = EPOCHS) -> str:
    """Return a trial's configuration as JSON, what ``export_yaml`` says in comments under ``notes``."""
    trial = view.trial(number)
    run = full_run(view, trial.params, view.examples_seen(trial), epochs=epochs)
    values = configuration(view, number, epochs=epochs) | {"notes": list(provenance(view, trial, run))}
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def dump_yaml(values: dict[str, Any]) -> str:
    """Return YAML in the given order; floats keep all their digits and are floats to every reader.

    PyYAML writes ``1e-05`` as ``1.0e-05``, without which a YAML 1.1 reader would take it for a string.
    """
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
