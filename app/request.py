"""From what the user asked for to a study's configuration; nothing is loaded, trained or written.

A flag goes over the config file, the file over the environment, that over the defaults. Defaults are those
of the values that are made (``StudyConfig``, ``ModelConfig``, ``DataConfig``), so each is written down once.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..demo import data_path, model_path
from ..errors import SpaceError, UsageError
from ..objectives.data.columns import parse_columns
from ..objectives.size import count_parameters
from ..spaces.params import LoraParams
from ..spaces.parse import build_space, configuration
from ..spaces.presets import PRESETS, Preset, preset, preset_for
from ..spaces.settings import load_settings
from ..study.config import DataConfig, ModelConfig, ObjectiveConfig
from ..study.facts import Facts
from ..study.study_config import StudyConfig
from .default_storage import default_storage

TRIALS = 100

_MODEL_FIELDS = (
    "revision",
    "dtype",
    "device",
    "attn_implementation",
    "gradient_checkpointing",
    "trust_remote_code",
)
_DATA_FIELDS = ("format", "template", "cutoff_len", "encoding")
_STUDY_FIELDS = ("sampler", "pruner", "seed", "keep_adapters")
_OBJECTIVE_FIELDS = ("examples", "eval_examples", "max_grad_norm", "seed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One call of ``tune search`` or ``tune plan``."""

    settings: Mapping[str, Any]
    """Long options with underscores that the user gave, by flag or file."""
    sets: tuple[str, ...] = ()
    """Texts of ``--set``."""

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option, or the default where the user did not give it."""
        return self.settings.get(name, default)

    @property
    def study(self) -> str | None:
        """The study's name, where the user gave one."""
        name: str | None = self.get("study")
        return name

    @property
    def storage(self) -> str:
        """Where the database is."""
        return str(self.get("storage") or default_storage())

    @property
    def trials(self) -> int:
        """Trials of the study in all."""
        return int(self.get("trials", TRIALS))

    @property
    def slots(self) -> int | None:
        """Trials that train at once in one worker; None lets memory decide."""
        return _count(self.get("slots", "auto"))

    @property
    def workers(self) -> int | None:
        """Worker processes; None lets the machine decide."""
        return _count(self.get("workers", "auto"))


def make_request(config: Path | None, flags: Mapping[str, Any]) -> Request:
    """Merge a config file and the flags that were given; raises ``UsageError`` or ``SpaceError``."""
    settings = {} if config is None else load_settings(config)
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    sets = tuple(given.pop("set", ()))
    enqueued = [*settings.pop("enqueue", ()), *(_mapping(text) for text in given.pop("enqueue", ()))]
    return Request(settings={**settings, **given, "enqueue": enqueued}, sets=sets)


def choose_preset(request: Request) -> Preset | None:
    """Return the preset that was named or that the model's size asks for; None if that is not known yet."""
    named = request.get("space")
    if named in PRESETS:
        return preset(named)
    if request.get("model") is None:
        return preset("tiny")
    count = count_parameters(str(request.get("model")))
    return None if count is None else preset_for(count)


def make_config(request: Request, base: Preset) -> StudyConfig:
    """Return the study that was asked for, on the space of a preset; raises ``LoratuneError``."""
    named = request.get("space")
    file = None
    if named is not None and named not in PRESETS:
        file = Path(named)
        if not file.exists():
            preset(named)  # says what may be given
    space = build_space(base, file, request.sets, request.get("set"))
    first = space.closest(base.default)
    source = base.default_source
    if first != base.default:
        source += "; moved to the nearest point of the space"
    return StudyConfig(
        space=space,
        preset=base.name,
        default_source=source,
        objective=ObjectiveConfig(
            model=_checked(ModelConfig(name_or_path=_model(request), **_chosen(request, _MODEL_FIELDS))),
            data=_data(request),
            batch_sizes=space.batch_sizes(),
            lora_ranks=space.lora_ranks(),
            lora_targets=space.lora_targets(),
            **_chosen(request, _OBJECTIVE_FIELDS),
        ),
        first=(first, *(_enqueued(values, first) for values in request.get("enqueue", ()))),
        **_chosen(request, _STUDY_FIELDS),
    )


def fit_to_budget(config: StudyConfig, facts: Facts) -> StudyConfig:
    """Leave out the batch sizes that the data is too small for; the plan says which."""
    largest = max(facts.budget.batch_sizes)
    if largest == max(config.space.batch_sizes()):
        return config
    space = config.space.without_batch_sizes_above(largest)
    default, *enqueued = config.first
    for params in enqueued:
        if params.batch_size > largest:
            raise SpaceError(
                f"enqueue: batch_size {params.batch_size} does not fit the data; at most {largest} does"
            )
    return dataclasses.replace(config, space=space, first=(space.closest(default), *enqueued))


def default_name(request: Request) -> str:
    """Return a study name made of the model's and the data's."""
    if request.get("model") is None:
        return "demo"
    words = (Path(str(request.get("model"))).name, Path(str(request.get("data"))).stem)
    cleaned = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-.")
    return cleaned[:56] or "study"


def _model(request: Request) -> str:
    model, data = request.get("model"), request.get("data")
    for name, given, what in (("model", model, "folder or a Hub id"), ("data", data, "file")):
        if given is not None and not given.strip():
            raise UsageError(f"--{name} is empty; name a {what}")
    if model is None and data is None:
        return str(model_path())
    if model is None:
        raise UsageError("--model is missing: --data was given, so name the model to fine-tune as well")
    if data is None:
        raise UsageError("--data is missing: --model was given, so name the records to train on as well")
    try:
        Path(model).expanduser()
    except RuntimeError:
        raise UsageError(f"--model: {model!r} is in the home of a user that there is not") from None
    # A study is resumed from anywhere, so a folder is stored with its whole path.
    return os.path.realpath(model) if Path(model).exists() else str(model)


def _checked(model: ModelConfig) -> ModelConfig:
    """Refuse a device that no machine has, before a worker is started for it."""
    if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", model.device) is None:
        raise UsageError(f"--device: {model.device!r} is not one of auto, cpu, cuda, cuda:N")
    return model


def _data(request: Request) -> DataConfig:
    given = request.get("data")
    files = _chosen(request, ("validation", "test")) | {"train": given or str(data_path())}
    if request.get("validation") is None and request.get("test") is not None:
        raise UsageError("--test was given without --validation; give both, or neither and the data is split")
    paths: dict[str, Any] = {name: os.path.realpath(file) for name, file in files.items()}
    columns = request.get("columns")
    return DataConfig(
        **paths,
        **_chosen(request, _DATA_FIELDS),
        columns=None if columns is None else parse_columns(columns),
    )


def _chosen(request: Request, names: Sequence[str]) -> dict[str, Any]:
    """Return the options among ``names`` that the user gave."""
    return {name: request.settings[name] for name in names if name in request.settings}


def _enqueued(values: Mapping[str, Any], default: LoraParams) -> LoraParams:
    """Return a configuration that the user enqueued; what it leaves out is as in trial 0."""
    known = default.to_dict()
    if "lora_alpha" not in values and "lora_alpha_ratio" not in values:
        values = {**values, "lora_alpha_ratio": default.scaling}
    if "lora_alpha_ratio" in values:
        del known["lora_alpha"]
    try:
        return configuration({**known, **values})
    except SpaceError as error:
        raise SpaceError(f"enqueue: {error}") from None


def _mapping(text: str) -> dict[str, Any]:
    """Read ``--enqueue '{learning_rate: 1e-3, lora_rank: 8}'``."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SpaceError(f"--enqueue: {text!r} is no mapping; write '{{learning_rate: 1e-3, lora_rank: 8}}'")
    return values


def _count(value: Any) -> int | None:
    return None if value == "auto" else int(value)
