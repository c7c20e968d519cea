"""One study as the reports read it: its rows, and typed views of what is stored with it as JSON.

Knows the keys that the search and the worker write; nothing else in this room reads raw JSON.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pydantic

from ..errors import LoratuneError, ReportError
from ..spaces.space import SearchSpace
from ..study.budget import QUANTA, Budget
from ..study.records import CurvePoint, Evaluation, EventRecord, StudyRecord, TrialRecord
from .format import show_state
from .stop_tokens import EndingsView

T = TypeVar("T")

_OTHERWISE = "it is damaged, which tune db check may tell, or was made by another version of loratune"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BadRecord:
    """A record of the data that was left out."""

    file: str
    """The file's name."""
    line: int
    """Its line, or its position from 1."""
    reason: str
    """What is wrong with it."""
    place: str = "line"
    """What ``line`` counts: ``line`` or ``record``."""

    @property
    def where(self) -> str:
        """File and place in words: ``data.jsonl:17`` or ``data.json: record 17``."""
        at = f":{self.line}" if self.place == "line" else f": {self.place} {self.line}"
        return self.file + at


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Why some records were left out, or changed."""

    reason: str
    """What is wrong with them."""
    count: int
    """How many."""
    places: tuple[str, ...]
    """Where the first of them are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """What a column of a data file is used for."""

    file: str
    """The file's name."""
    name: str
    """The column's."""
    used_as: str
    """Such as ``prompt`` or ``answer``; empty where it is not used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataView:
    """What became of the data when the study was made."""

    format: str
    """The format that was read."""
    template: str
    """The template that was applied."""
    fingerprint: str
    """Hash of everything that decides the tokens."""
    train: int
    """Training examples."""
    validation: int
    """Validation examples."""
    test: int
    """Test examples."""
    records: int
    """Records read, bad ones included."""
    bad: int
    """Records left out."""
    bad_records: tuple[BadRecord, ...]
    """The first of them."""
    duplicates: int
    """Exact repeats that were left out."""
    cutoff_len: int
    """Most tokens of an example."""
    truncated: int
    """Examples cut to ``cutoff_len``."""
    tokens: int
    """Tokens of the training examples."""
    target_tokens: int
    """Those of them that the loss is taken on."""
    length_quantiles: tuple[int, ...]
    """Least, lower quartile, median, upper quartile and greatest length in tokens."""
    rendered: str
    """One training example as the model sees it, target text between ``⟦`` and ``⟧``."""
    rendered_cut: str = ""
    """What was cut from that example, in words."""
    ends_lost: int = 0
    """Answers that were cut short or off, and so lost their stop token."""
    reasons: tuple[LeftOut, ...] = ()
    """Why records were left out, the most frequent reason first; none in studies made before it was kept."""
    shortened: LeftOut | None = None
    """Conversations whose last turns were cut off."""
    columns: tuple[ColumnUse, ...] = ()
    """Every column of the files; none in studies made before they were kept."""
    endings: EndingsView = dataclasses.field(default_factory=EndingsView)
    """How its answers end."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelView:
    """What the base model is, and how it was held."""

    name_or_path: str
    """As the user gave it."""
    revision: str | None
    """The Hub's commit, None for a folder."""
    architecture: str
    """Its class in Transformers."""
    parameters: int
    """Number of its weights."""
    device: str
    """Where it trained."""
    device_name: str
    """The device in words."""
    dtype: str
    """Its number type."""
    targets: tuple[str, ...]
    """Full names of the layers that could carry an adapter."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyView:
    """Everything a report is made from; holds no connection, so it can be made up in a test."""

    study: StudyRecord
    """The study."""
    trials: tuple[TrialRecord, ...]
    """Its trials by number."""
    curve: tuple[CurvePoint, ...] = ()
    """Every point of every trial."""
    evaluations: Mapping[int, Evaluation] = dataclasses.field(default_factory=dict)
    """Trial number → losses on each example of the final evaluation set."""
    events: tuple[EventRecord, ...] = ()
    """What else happened."""
    live: bool = True
    """Whether a process runs the study now; without one, a trial that has not ended is interrupted."""

    @functools.cached_property
    def space(self) -> SearchSpace:
        """What was searched."""
        try:
            return SearchSpace.from_dict(self._config("space"))
        except (LoratuneError, AttributeError, TypeError, KeyError) as error:
            raise ReportError(
                f"study {self.study.name!r}: its search space cannot be read; {_OTHERWISE}"
            ) from error

    @functools.cached_property
    def budget(self) -> Budget:
        """What every trial was given."""
        return _build(Budget, self._facts("budget"))

    @functools.cached_property
    def data(self) -> DataView:
        """What became of the data."""
        stored = self._facts("data")
        bad = tuple(_build(BadRecord, item) for item in stored.get("bad_records", ()))
        endings = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.get("endings", {}).items()
        }
        shortened = stored.get("shortened")
        return _build(
            DataView,
            {
                **stored,
                "bad_records": bad,
                "reasons": tuple(_build(LeftOut, item) for item in stored.get("reasons", ())),
                "shortened": None if shortened is None else _build(LeftOut, shortened),
                "columns": tuple(_build(ColumnUse, item) for item in stored.get("columns", ())),
                "endings": _build(EndingsView, endings),
            },
        )

    @functools.cached_property
    def model(self) -> ModelView:
        """What the base model is."""
        geometry = self._facts("geometry")
        stored = {**self._facts("model"), "dtype": geometry["dtype"], "targets": geometry["targets"]}
        return _build(ModelView, stored)

    @property
    def environment(self) -> dict[str, str]:
        """Versions and hardware that the study was made with."""
        return {str(key): str(value) for key, value in self._facts("environment").items()}

    @property
    def base_loss(self) -> float:
        """The base model's loss on the final evaluation set."""
        return float(self._facts("base_loss"))

    @functools.cached_property
    def base_evaluation(self) -> Evaluation | None:
        """The base model's losses on each example of the final evaluation set."""
        losses = self._facts("base_losses")
        tokens = self._facts("eval_tokens")
        if not losses or len(losses) != len(tokens):
            return None
        return Evaluation(losses=np.asarray(losses, np.float32), tokens=np.asarray(tokens, np.int64))

    @property
    def model_config(self) -> dict[str, Any]:
        """The model as the user asked for it."""
        return dict(self._config("objective")["model"])

    @property
    def data_config(self) -> dict[str, Any]:
        """The data as the user asked for it."""
        return dict(self._config("objective")["data"])

    @property
    def max_grad_norm(self) -> float:
        """Norm that gradients were clipped to."""
        return float(self._config("objective").get("max_grad_norm", 1.0))

    @property
    def default_source(self) -> str:
        """Where the configuration of trial 0 comes from."""
        return str(self.study.config.get("default_source", ""))

    @property
    def full_examples(self) -> int:
        """Training examples of a whole trial."""
        return self.budget.examples

    @property
    def epochs(self) -> float:
        """How often a whole trial sees the training data."""
        return self.full_examples / max(1, self.data.train)

    @property
    def exhausted(self) -> bool:
        """Whether the last run ended because nothing untried was left."""
        ends = [event for event in self.events if event.kind in ("finished", "interrupted", "resumed")]
        return bool(ends) and ends[-1].kind == "finished" and ends[-1].detail.get("why") == "exhausted"

    def check(self) -> None:
        """Raise ``ReportError`` where what is stored as JSON is not what a search writes."""
        try:
            parts = (self.space, self.budget, self.data, self.model, self.environment, self.default_source)
            numbers = (self.base_loss, self.max_grad_norm)
            configs = (self.model_config["name_or_path"], self.data_config["train"], self.base_evaluation)
            if not all(math.isfinite(number) for number in numbers) or None in (*parts, *configs[:2]):
                raise ValueError("a number that is not finite")
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ReportError(
                f"study {self.study.name!r}: what is stored of it cannot be read; {_OTHERWISE}"
            ) from error

    def best(self) -> TrialRecord | None:
        """Return the complete trial of the least loss, the earliest of equals."""
        done = [trial for trial in self.trials if trial.state == "complete" and trial.value is not None]
        return min(done, key=lambda trial: (trial.value, trial.number), default=None)

    def trial(self, number: int | None) -> TrialRecord:
        """Return a trial by number, or the best one; raises ``ReportError`` where there is none."""
        if number is None:
            best = self.best()
            if best is None:
                raise ReportError(f"study {self.study.name!r} has no complete trial yet; {self.more()}")
            return best
        for trial in self.trials:
            if trial.number == number:
                return trial
        last = f"0 to {len(self.trials) - 1}" if self.trials else "none yet"
        raise ReportError(f"study {self.study.name!r} has no trial {number}; its trials are {last}")

    def state_of(self, trial: TrialRecord) -> str:
        """Return a trial's state in a word; see ``show_state``."""
        return show_state(trial.state, self.live)

    def more(self, flags: str = "") -> str:
        """Return how a study comes to know more: by waiting, or by being gone on with."""
        if self.live:
            return "its search goes on, so wait"
        return f"go on with: tune resume {self.study.name}{flags}"

    def points(self, number: int) -> tuple[CurvePoint, ...]:
        """Return a trial's points in order."""
        return self._points.get(number, ())

    @functools.cached_property
    def _points(self) -> dict[int, tuple[CurvePoint, ...]]:
        grouped: dict[int, list[CurvePoint]] = {}
        for point in self.curve:
            grouped.setdefault(point.trial, []).append(point)
        return {
            number: tuple(sorted(points, key=lambda point: point.quantum))
            for number, points in grouped.items()
        }

    def examples_seen(self, trial: TrialRecord) -> int:
        """Return how many training examples a trial has seen."""
        points = self.points(trial.number)
        seen = points[-1].examples if points else 0
        return max(seen, min(trial.quanta, QUANTA) * self.budget.quantum)

    def eval_at(self, number: int, quantum: int) -> float | None:
        """Return a trial's eval loss after a quantum, None where there is none."""
        for point in self.points(number):
            if point.quantum == quantum:
                return point.eval_loss
        return None

    def last_eval(self, number: int) -> float | None:
        """Return a trial's latest eval loss, None before the first."""
        losses = [point.eval_loss for point in self.points(number) if point.eval_loss is not None]
        return losses[-1] if losses else None

    def _config(self, key: str) -> Any:
        return self._key(self.study.config, key)

    def _facts(self, key: str) -> Any:
        return self._key(self.study.facts, key)

    def _key(self, stored: Mapping[str, Any], key: str) -> Any:
        if key not in stored:
            raise ReportError(f"study {self.study.name!r}: nothing is stored under {key!r}; {_OTHERWISE}")
        return stored[key]


_READERS: dict[type, pydantic.TypeAdapter[Any]] = {}
"""Made once for each kind of value: making one takes far longer than reading with it."""


def _reader(kind: type[Any]) -> pydantic.TypeAdapter[Any]:
    if kind not in _READERS:
        _READERS[kind] = pydantic.TypeAdapter(kind)
    return _READERS[kind]


def _build(kind: type[T], stored: Any) -> T:
    """Make a value from JSON: lists become tuples, keys that it does not know are left."""
    try:
        names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        made: T = _reader(kind).validate_python({key: stored[key] for key in stored if key in names})
        return made
    except (LoratuneError, TypeError, ValueError) as error:
        raise ReportError(f"a stored {kind.__name__} cannot be read; {_OTHERWISE}") from error
