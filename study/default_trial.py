"""Which trial of a study has the default configuration: by its hyperparameters, whatever its number.

In a search that is trial 0; in a study that follows from another it may be any trial, or none.
"""

from __future__ import annotations

from collections.abc import Iterable

from .records import StudyRecord, TrialRecord
from .study_config import DEFAULT


def default_trial(study: StudyRecord, trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """Return the first trial with the default configuration; None where none has it."""
    default = study.config.first[0]
    return next((trial for trial in trials if trial.params == default), None)


def the_default(name: str) -> str:
    """Return what the default is called in a sentence, of its ``StudyConfig.default_name``."""
    return "the default" if name == DEFAULT else name
