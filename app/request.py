"""From what the user asked for to a study's configuration; nothing is loaded, trained or written.

A flag goes over the config file, the file over the environment, that over the defaults of options.py.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..demo import data_path, model_path
from ..errors import DataError, SpaceError, UsageError, shown
from ..metrics.installed import check_installed
from ..objectives.data.columns import parse_columns
from ..objectives.size import count_parameters
from ..search.samplers.kinds import sampler_of
from ..spaces.params import FIELDS
from ..spaces.parse import build_space, parse_set
from ..spaces.presets import PRESETS, Preset, preset, preset_for
from ..spaces.space import SearchSpace
from ..study.budget import DEFAULT_STEPS, ROUNDS
from ..study.config import DataConfig, DataFile, ModelConfig, ObjectiveConfig
from ..study.ladder import Ladder, plan_ladder
from ..study.pruners import Halving, PrunerSettings
from ..study.samplers import SamplerSettings
from ..study.study_config import DEFAULT, StudyConfig
from .config_file import read_config
from .config_paths import PATHS, check_paths
from .data_option import GivenFile, files_of, without_own
from .default_storage import default_storage
from .first_trials import first_trials, holding, source_of
from .options import RunOptions, SearchOptions
from .trainer_file import OwnRun

CLIMBING = Halving(first=1, peers=3)
"""Who stops bad trials early in a search that climbs, where nobody was chosen."""

HOLDS = "warmup_stable_decay"
"""The schedule whose held rate lets a trial go on to a greater length."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One call of ``tune search`` or ``tune plan``."""

    search: SearchOptions
    """What is searched; ``enqueue`` holds what the file says, then what the flags do."""
    run: RunOptions
    """How this run is made."""
    own: OwnRun | None = None
    """What the user trains with today, which trial 0 then is; None where no file of a trainer was given."""
    as_before: bool = False
    """Whether a search that climbs is made as it was when its last step was twice as long as the others."""

    @property
    def climbs(self) -> bool:
        """Whether the search is the first step to a model that is trained to the end."""
        return self.search.examples_in_all is not None or self.search.hours is not None

    @property
    def own_run(self) -> OwnRun | None:
        """What the user trains with today, in a search that climbs under the schedule that can go on."""
        return self.own.under(HOLDS) if self.own is not None and self.climbs else self.own

    @property
    def climbs_as_now(self) -> bool:
        """Whether it climbs by what has been found best since."""
        return self.climbs and not self.as_before

    @property
    def storage(self) -> str:
        """Where the database is."""
        return self.search.storage or default_storage()


def make_request(config: Path | None, flags: Mapping[str, Any]) -> Request:
    """Merge a config file and the flags that were given; raises ``UsageError`` or ``SpaceError``."""
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    search, run, own = (SearchOptions(), RunOptions(), None) if config is None else read_config(config, given)
    if given.keys() & {"format", "columns"}:  # as any flag they go over all that the file says of it
        search = search.model_copy(update={"data": without_own(search.data)})
    if "set" in given:
        given["sets"] = given.pop("set")
    enqueued = [*(search.enqueue or ()), *(_mapping(text) for text in given.pop("enqueue", ()))]
    if enqueued:
        given["enqueue"] = enqueued
    said = ("trials", "examples_in_all", "hours")
    flags_said = [name for name in said if name in given]
    if flags_said:  # they go over all that the file says of it
        usual = SearchOptions()
        search = search.with_given({name: getattr(usual, name) for name in said})
    found = search.with_given(given)
    wanted = flags_said or [name for name in said if name in found.model_fields_set]
    if len(wanted) > 1:
        flags_given = " and ".join(f"--{name.replace('_', '-')}" for name in wanted)
        raise UsageError(f"{flags_given}: each says how much is trained in all; give one of them")
    if config is not None:
        of_file = {name: [getattr(search, name)] for name in PATHS}
        of_file["data"] = [one.path for one in files_of(search.data)]
        named = [(name, path) for name in PATHS if name not in given for path in of_file[name]]
        check_paths(config, [(name, path) for name, path in named if path is not None])
    return Request(search=found, run=run.with_given(given), own=own)


def choose_preset(request: Request) -> Preset | None:
    """Return the preset that was named or that the model's size asks for; None if that is not known yet."""
    named = request.search.space
    if named in PRESETS:
        return preset(named)
    if request.search.model is None:
        return preset("tiny")
    count = count_parameters(request.search.model)
    return None if count is None else preset_for(count)


def make_config(request: Request, base: Preset) -> StudyConfig:
    """Return the study that was asked for, on the space of a preset; raises ``LoratuneError``."""
    named = request.search.space
    file = None
    if named is not None and named not in PRESETS:
        file = Path(named)
        if not file.exists():
            preset(named)  # says what may be given
    _check_sets(request.search.sets)
    space = build_space(base, file, request.search.sets, request.search.set)
    if request.climbs:
        space = _held(space, request)
    own = request.own_run
    if own is not None:
        space = holding(space, own, said=_names_set(request), file=file)
    first = first_trials(base, space, own, request.search.enqueue or (), lower=request.climbs_as_now)
    search = request.search
    ladder = None if search.examples_in_all is None else ladder_of(request, space.batch_sizes())
    check_installed(search.metric)
    return StudyConfig(
        space=space,
        preset=base.name,
        default_source=source_of(base, space, own),
        default_name=DEFAULT if own is None else own.name,
        objective=ObjectiveConfig(
            model=_model(search),
            data=_data(search),
            batch_sizes=space.batch_sizes(),
            lora_ranks=space.lora_ranks(),
            lora_targets=space.lora_targets(),
            examples=search.examples if ladder is None else ladder.trial,
            eval_examples=search.eval_examples,
            max_grad_norm=search.max_grad_norm,
            metric=search.metric,
            seed=search.seed,
        ),
        sampler=_installed(search.sampler),
        pruner=_pruner(request),
        seed=search.seed,
        first=first,
        keep_adapters=search.keep_adapters,
        keep_held=0 if ladder is None else ladder.kept,
        ladder=ladder,
    )


def _check_sets(sets: Sequence[str]) -> None:
    """Raise ``UsageError`` where a text of ``--set`` is none: a value that a flag does not take."""
    try:
        for text in sets:
            parse_set(text)
    except SpaceError as error:
        raise UsageError(str(error)) from None


def _installed(settings: SamplerSettings) -> SamplerSettings:
    """Return a sampler's settings, or raise ``UsageError`` where this machine lacks what it needs."""
    sampler_of(settings)
    return settings


def ladder_of(request: Request, batch_sizes: Sequence[int]) -> Ladder:
    """Return how the examples in all are spent; raises ``BudgetError`` where they are too few."""
    search = request.search
    assert search.examples_in_all is not None, "trials were asked for"
    given = search.examples is not None
    return plan_ladder(
        search.examples_in_all,
        trial=search.examples or DEFAULT_STEPS * max(batch_sizes),
        multiple=ROUNDS * math.lcm(*batch_sizes),
        given=given,
        hours=search.hours,
        as_before=request.as_before,
    )


def in_examples(request: Request, examples: int) -> Request:
    """Return the request of hours as one of so many examples, which the hours were worked out to allow."""
    search = request.search.model_copy(update={"examples_in_all": max(1, examples)})
    return dataclasses.replace(request, search=search)


def wanted_trials(request: Request, config: StudyConfig) -> int:
    """Return how many trials the study is to have."""
    return request.search.trials if config.ladder is None else config.ladder.most_trials(config.pruner)


def _pruner(request: Request) -> PrunerSettings:
    """Return who stops bad trials early: what the user chose, else what is best for as much training.

    With examples or hours for everything a search has few full trials' worth: there it stops from the first
    rung on, and begins more trials of as many examples (docs/search.md).
    """
    named = "pruner" in request.search.model_fields_set
    return CLIMBING if request.climbs_as_now and not named else request.search.pruner


def _held(space: SearchSpace, request: Request) -> SearchSpace:
    """Return the space with the one schedule that can go on to a greater length."""
    chosen = space["lr_scheduler_type"].values
    untouched = chosen == (FIELDS["lr_scheduler_type"].default,)
    untouched = untouched and "lr_scheduler_type" not in _names_set(request)
    if not untouched and chosen != (HOLDS,):
        flag = "--examples-in-all" if request.search.hours is None else "--hours"
        raise UsageError(
            f"lr_scheduler_type: {flag} lets trials go on from where a held rate begins to fall, which only "
            f"{HOLDS} has; leave it out, or search with --trials"
        )
    return space.replace(parse_set(f"lr_scheduler_type={HOLDS}"))


def _names_set(request: Request) -> tuple[str, ...]:
    """Return the hyperparameters that the user says something of, by ``--set`` or in the config file."""
    named = (text.partition("=")[0].strip() for text in request.search.sets)
    return (*named, *(request.search.set or {}))


def study_name(request: Request) -> str:
    """Return a study name made of the model's and the data's."""
    model, data = request.search.model, request.search.data
    if model is None:
        return "demo"
    words = (Path(model).name, *(Path(one.path).stem for one in files_of(data)))
    cleaned = re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(words)).strip("-.")
    return cleaned[:56] or "study"


def _model(search: SearchOptions) -> ModelConfig:
    """Return the base model; refuses a device that no machine has, before a worker is started for it."""
    if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", search.device) is None:
        raise UsageError(f"--device: {search.device!r} is not one of auto, cpu, cuda, cuda:N")
    return ModelConfig(
        name_or_path=_name_or_path(search),
        revision=search.revision,
        dtype=search.dtype,
        device=search.device,
        attn_implementation=search.attn_implementation,
        gradient_checkpointing=search.gradient_checkpointing,
        trust_remote_code=search.trust_remote_code,
        quantization_bit=search.quantization_bit,
    )


def _name_or_path(search: SearchOptions) -> str:
    model, data = search.model, search.data
    named = [("data", one.path, "file") for one in files_of(data)]
    for name, given, what in (("model", model, "folder or a Hub id"), *named):
        if given is not None and not given.strip():
            raise UsageError(f"--{name} is empty; name a {what}")
    if model is None and data is None:
        return str(model_path())
    if model is None:
        raise UsageError("--model is missing: --data was given, so name the model to fine-tune as well")
    if data is None:
        raise UsageError("--data is missing: --model was given, so name the records to train on as well")
    _at_home("model", model)
    # A study is resumed from anywhere, so a folder is stored with its whole path.
    return os.path.realpath(model) if Path(model).exists() else model


def _whole_path(name: str, given: str) -> str:
    """Return a path as a study stores it, so that it is found from anywhere."""
    return os.path.realpath(_at_home(name, given))


def _at_home(name: str, given: str) -> Path:
    """Return a path whose ``~`` is a home, which a shell leaves in ``--data=~/a.jsonl`` and in a file."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise UsageError(f"--{name}: {given!r} is in the home of a user that there is not") from None


def _data(search: SearchOptions) -> DataConfig:
    if search.validation is None and search.test is not None:
        raise UsageError("--test was given without --validation; give both, or neither and the data is split")
    first, *more = [_file(one, search) for one in files_of(search.data or str(data_path()))]
    config = DataConfig(
        train=first.path,
        more=tuple(more),
        validation=None if search.validation is None else _whole_path("validation", search.validation),
        test=None if search.test is None else _whole_path("test", search.test),
        format=first.format,
        template=search.template,
        cutoff_len=search.cutoff_len,
        encoding=search.encoding,
        columns=first.columns,
    )
    _check_once(config)
    return config


def _file(given: GivenFile, search: SearchOptions) -> DataFile:
    """Return a file to train on; one that says nothing of itself is read as all are."""
    own = given.format is not None or given.columns is not None
    columns = given.columns if own else search.columns
    try:
        read = None if columns is None else parse_columns(columns)
    except DataError as error:
        raise DataError(f"{given.path}: {error}" if own else str(error)) from None
    return DataFile(
        path=_whole_path("data", given.path),
        format=(given.format or "auto") if own else search.format,
        columns=read,
    )


def _check_once(config: DataConfig) -> None:
    """Raise ``UsageError`` where one of several files is given twice, which would add nothing."""
    seen: set[str] = set()
    for part, one in config.files if config.more else ():
        if one.path in seen:
            name = "data" if part == "train" else part
            raise UsageError(f"--{name}: {shown(one.path)} is given twice; give each file once")
        seen.add(one.path)


def _mapping(text: str) -> dict[str, Any]:
    """Read ``--enqueue '{learning_rate: 1e-3, lora_rank: 8}'``."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"--enqueue: {text!r} is no mapping; write '{{learning_rate: 1e-3, lora_rank: 8}}'")
    return values
