"""A study as the search knows it: made under a name, and read back from the record as typed values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from ..errors import BudgetError, DataError, ModelError, StudyExists
from ..storage.store import Store
from ..study.config import ObjectiveConfig
from ..study.facts import Facts, ModelSummary
from ..study.records import StudyRecord
from ..study.study_config import StudyConfig

SAME_LOSS = 1e-2
"""Two measurements of one base model's loss differ by less than this, relative, whatever the device."""


def create(store: Store, *, name: str, config: StudyConfig, facts: Facts, trials: int) -> StudyRecord:
    """Make a study, or return the one of that name if it was made of the same choices and data.

    What is returned wants ``trials`` trials if it wanted fewer; ``loop.run`` writes that down once it owns
    the study. Raises ``StudyExists``, which says what differs, where the name is taken by another.
    """
    try:
        study = store.create_study(name=name, trials=trials, config=config, facts=facts)
    except StudyExists:
        if not store.holds(name):
            raise  # it is a study of another program, in Optuna's tables alone
        study = store.study(name)
    else:
        store.add_event(study.id, "created", trials=trials)
        # From the first moment, so that Optuna's tools can be opened before a trial has ended.
        store.project(study.id, config.space.value_distributions(), {})
        return study
    differences = list(study.config.differences(config))
    if not differences and study.facts.data.fingerprint != facts.data.fingerprint:
        differences.append("the contents of its data have changed")
    if differences:
        raise StudyExists(
            f"study {name!r} exists with another configuration: {'; '.join(differences)}; "
            "choose another name, or resume it as it is"
        )
    return dataclasses.replace(study, trials=max(trials, study.trials))


def objective_of(
    study: StudyRecord, *, cache_dir: Path | None = None, slots: int | None = None
) -> ObjectiveConfig:
    """Return what a worker of this study must know, with what was fixed when it was made.

    That is its geometry, and the Hub's commit that the model's revision meant then.
    """
    objective, facts = study.config.objective, study.facts
    revision = facts.model.revision or objective.model.revision
    return dataclasses.replace(
        objective,
        model=dataclasses.replace(objective.model, revision=revision),
        geometry=facts.geometry,
        cache_dir=None if cache_dir is None else str(cache_dir),
        slots=slots,
        pass_tokens=facts.pass_tokens,
        dropout=study.config.uses_dropout,
    )


def last_slots(store: Store, study: StudyRecord) -> int:
    """Return the most trials at once in a worker: as the study was made, or as was recorded last since."""
    found = store.events(study.id, "slots")
    return int(found[-1].detail["slots"]) if found else study.facts.slots


def last_pass_tokens(store: Store, study: StudyRecord) -> int:
    """Return the tokens that go through the base model at once: as the study was made, or recorded since."""
    details = [event.detail for event in store.events(study.id, "slots")]
    found = [detail["pass_tokens"] for detail in details if "pass_tokens" in detail]
    return int(found[-1]) if found else study.facts.pass_tokens


def check_files(stored: ModelSummary, found: Mapping[str, str]) -> None:
    """Raise ``ModelError`` where a file of the base model is another one now; ``found``: digests by name."""
    if (changed := changed_file(stored.files, found)) is not None:
        raise ModelError(f"{stored.name_or_path}: {changed}; restore the model, or begin a new study")


def changed_file(stored: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Return in words which file of a model is another one now; None where none is, or digests lack.

    Both are digests by name; a study of before these were taken has none.
    """
    if not stored or not found:
        return None
    for name in sorted(stored.keys() | found.keys()):
        if name not in found:
            return f"{name} was there when the study was made and is not now"
        if name not in stored:
            return f"{name} was not there when the study was made"
        if stored[name] != found[name]:
            return f"{name} is not the file that the study was made with"
    return None


def same_rounds(stored: Facts, found: Facts) -> bool:
    """Return whether two studies give a trial the same rounds, in the same shapes."""
    return _same_budget(stored, found) and stored.geometry == found.geometry


def _same_budget(stored: Facts, found: Facts) -> bool:
    one, other = (dataclasses.replace(facts.budget, notes=()) for facts in (stored, found))
    return one == other


def compare_facts(stored: Facts, found: Facts) -> tuple[str, ...]:
    """Return in words what another machine or build changes; raise where the study cannot go on with it.

    Raises ``DataError``, ``BudgetError`` or ``ModelError`` where the trials to come could not be
    compared with those that were made.
    """
    check_files(stored.model, found.model.files)
    if stored.data.fingerprint != found.data.fingerprint:
        raise DataError(
            "the data, its template or its tokenizer have changed since the study was made "
            f"({stored.data.fingerprint[:12]}, now {found.data.fingerprint[:12]}); "
            "restore them, or begin a new study"
        )
    if not _same_budget(stored, found):
        raise BudgetError(
            f"a trial's budget was {stored.budget.examples} examples when the study was made and would be "
            f"{found.budget.examples} now; begin a new study"
        )
    if stored.model.revision != found.model.revision:
        raise ModelError(
            f"the model was commit {stored.model.revision} when the study was made and is "
            f"{found.model.revision} now; restore it, or begin a new study"
        )
    if stored.geometry != found.geometry:
        raise ModelError("the shapes of the study cannot be kept with this model and data; begin a new study")
    if abs(stored.base_loss - found.base_loss) > SAME_LOSS * abs(stored.base_loss):
        raise ModelError(
            f"the base model's loss was {stored.base_loss:.4f} when the study was made and is "
            f"{found.base_loss:.4f} now; restore the model, or begin a new study"
        )
    before = {**stored.environment, "device": stored.model.device_name}
    now = {**found.environment, "device": found.model.device_name}
    return tuple(
        f"{name} was {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}"
        for name in dict.fromkeys([*before, *now])
        # A worker of its own sees one GPU, whatever the machine has.
        if name != "gpus" and before.get(name) != now.get(name)
    )
