"""One ended trial as Optuna is told of it: pure, and nothing in it is invented.

Knows neither Optuna nor a database. What the sampler needs beyond the truth, such as a bad value for a
trial that broke down, is search/samplers.py's matter: Optuna's tables are read by people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ..study.records import TrialRecord

NUMBER = "loratune_number"
"""User attribute with our number: Optuna counts trials in the order in which they end."""

LAYOUT_NOTE = "loratune_layout"
"""User attribute of a copy: which layout its trials are in. Copies of the first layout have none."""

State = Literal["complete", "pruned", "failed"]
"""Optuna's words for a trial that has ended."""


def names(study: str) -> tuple[str, str]:
    """Return the names that a study's copy may have: its own or, where a user's study has that, another.

    No study of ours can have the second one.
    """
    return study, f"{study} (loratune)"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptunaTrial:
    """One ended trial in Optuna's terms."""

    number: int
    """Our number."""
    state: State
    """``complete``, ``failed``, or ``pruned`` for all that was stopped before its end."""
    value: float | None
    """Its last finite eval loss; None where none was measured, and for ``failed``, as Optuna demands."""
    steps: Mapping[int, float]
    """Finite eval losses by round."""
    attributes: Mapping[str, Any]
    """Its user attributes: our number, our state and reason, all its hyperparameters."""


def to_optuna(trial: TrialRecord, losses: Mapping[int, float | None]) -> OptunaTrial:
    """Return an ended trial as Optuna is to have it; ``losses``: its eval losses by round."""
    assert trial.state != "running", f"trial {trial.number} has not ended"
    steps = {round_number: loss for round_number, loss in losses.items() if loss is not None}
    attributes: dict[str, Any] = {
        NUMBER: trial.number,
        "state": trial.state,
        "params": trial.params.to_dict(),
    }
    if trial.reason is not None:
        attributes["reason"] = trial.reason
    state: State = "pruned"
    value = steps.get(max(steps, default=0))
    if trial.state == "complete":
        state, value = "complete", trial.value
    elif trial.state == "failed":
        state, value = "failed", None
    return OptunaTrial(number=trial.number, state=state, value=value, steps=steps, attributes=attributes)
