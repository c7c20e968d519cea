"""Everything that the report says, in one frozen value: study in, facts out, nothing drawn yet."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from ..errors import ReportError
from ..spaces.params import value_of
from ..study.facts import DataSummary, ModelSummary
from ..study.format import join, show_count, show_value
from ..study.stage import Kind
from .answer_facts import AnswerFacts, answer_facts
from .confirm_facts import Confirmation
from .confirmation import confirmation
from .curve_counts import CurveCounts, curve_counts
from .importance import Importance, importance
from .memory_facts import MemoryUse, memory_use
from .trial_ends import Outcomes, outcomes
from .verdict import Verdict, verdict
from .view import StudyView
from .yardsticks import Yardsticks, yardsticks


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One row of the table of trials."""

    number: int
    """The trial's number."""
    state: str
    """Where it stands; ``interrupted`` where it has not ended and nobody trains it."""
    loss: float | None
    """Final loss, or the latest where it has none."""
    final: bool
    """Whether that loss is the final one."""
    examples: int
    """Training examples seen."""
    source: str
    """Who proposed it."""
    values: tuple[Any, ...]
    """Its hyperparameters, in the order of ``StudyFacts.varied``."""
    shown: tuple[str, ...]
    """The same as text."""
    reason: str | None
    """Why it ended so."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldModel(ModelSummary):
    """The base model, and how it was held."""

    dtype: str
    """Its number type."""
    targets: tuple[str, ...]
    """Full names of the layers that could carry an adapter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyFacts:
    """What was learned from a study."""

    name: str
    """The study's name."""
    created_at: datetime.datetime
    """When it was made, UTC."""
    updated_at: datetime.datetime
    """When its last trial ended or its last round was trained, UTC."""
    stage: Kind | None
    """What it is for, if it follows from another study; such a study has no more trials than were listed."""
    verdict: Verdict
    """Which configuration won, and how sure that is."""
    outcomes: Outcomes
    """How the trials ended."""
    confirmations: tuple[Confirmation, ...]
    """What came of training the best again under several seeds, the first first."""
    yardsticks: Yardsticks | None
    """The trial of full length beside the same training without adapters; None where there was none."""
    curves: CurveCounts
    """How their curves read."""
    answers: AnswerFacts
    """How good the answers are, and the worst of them."""
    importance: Importance | None
    """What mattered; None where too little is known."""
    importance_note: str | None
    """Why nothing is known on what mattered."""
    varied: tuple[str, ...]
    """Parameters that were searched, in the space's order."""
    space: tuple[tuple[str, str], ...]
    """(parameter, what it may be in words)."""
    rows: tuple[TrialRow, ...]
    """Every trial by number."""
    data: DataSummary
    """What became of the data."""
    data_files: tuple[tuple[str, str], ...]
    """(what for, file) as the user gave them."""
    model: HeldModel
    """What the base model is."""
    default_name: str
    """What the configuration of trial 0 is called."""
    default_source: str
    """Where trial 0's configuration comes from."""
    notes: tuple[str, ...]
    """Sentences on what of the budget was lowered to fit the data."""
    settings: tuple[tuple[str, str], ...]
    """(name, value) of how the search was run."""
    environment: dict[str, str]
    """Versions and hardware."""
    memory: MemoryUse | None
    """What a worker was predicted and seen to hold; None where that is not known."""

    @property
    def trained_on(self) -> str:
        """The files to train on, in words."""
        return join([file for name, file in self.data_files if name == "train"]) or "its data"

    @property
    def confirms_another(self) -> bool:
        """Whether it is itself the study that confirms another."""
        return any(one.study == self.name for one in self.confirmations)


def study_facts(view: StudyView) -> StudyFacts:
    """Extract everything that the report says."""
    note = None
    found: Importance | None = None
    try:
        found = importance(view)
    except ReportError as error:
        note = str(error)
    varied = tuple(dimension.name for dimension in view.space.dimensions if not dimension.fixed)
    times = [point.finished_at for point in view.curve]
    times += [trial.finished_at for trial in view.trials if trial.finished_at is not None]
    data, geometry = view.objective.data, view.geometry
    stage = view.study.config.stage
    return StudyFacts(
        stage=None if stage is None else stage.kind,
        name=view.study.name,
        created_at=view.study.created_at,
        updated_at=max(times, default=view.study.created_at),
        verdict=verdict(view),
        outcomes=outcomes(view),
        confirmations=tuple(confirmation(one) for one in view.confirmations),
        yardsticks=yardsticks(view),
        curves=curve_counts(view),
        answers=answer_facts(view),
        importance=found,
        importance_note=note,
        varied=varied,
        space=view.space.describe(),
        rows=tuple(_row(view, number, varied) for number in range(len(view.trials))),
        data=view.data,
        data_files=tuple((part, one.path) for part, one in data.files),
        model=HeldModel(**vars(view.model), dtype=geometry.dtype, targets=geometry.targets),
        default_name=view.study.config.default_name,
        default_source=view.study.config.default_source,
        notes=view.budget.notes,
        settings=_settings(view),
        environment=view.study.facts.environment,
        memory=memory_use(view),
    )


def _row(view: StudyView, index: int, varied: tuple[str, ...]) -> TrialRow:
    trial = view.trials[index]
    values = tuple(value_of(trial.params, name) for name in varied)
    return TrialRow(
        number=trial.number,
        state=view.state_of(trial),
        loss=trial.value if trial.value is not None else view.last_eval(trial.number),
        final=trial.value is not None,
        examples=view.examples_seen(trial),
        source=view.source_of(trial),
        values=values,
        shown=tuple(show_value(value) for value in values),
        reason=trial.reason,
    )


def _settings(view: StudyView) -> tuple[tuple[str, str], ...]:
    config = view.study.config
    budget = view.budget
    # Whose trials are listed, nobody proposes or stops them.
    searched = (("sampler", config.sampler.described), ("pruner", config.pruner.described))
    return (
        *(searched if config.stage is None else (("follows", config.stage.words),)),
        ("seed", str(view.study.seed)),
        *((("preset", config.preset),) if config.stage is None else ()),
        (
            "training examples of a trial",
            f"{show_count(budget.examples)} in 8 equal parts (rounds) of {show_count(budget.round_examples)}",
        ),
        (
            "validation examples",
            f"{show_count(budget.eval_examples)} at rungs, "
            f"{show_count(budget.final_eval_examples)} at the end",
        ),
        ("gradient clipping", f"{view.objective.max_grad_norm:g}"),
        ("optimizer", "AdamW; base weights frozen"),
    )
