"""Every option of a search, written once: its name, type, choices, bounds, default and help.

Flags (command/options.py), the keys of a config file (config_file.py), help, docs/options.md and what
``app.start`` is called with all come from the two models here. Imports little, since ``--help`` waits for it.
"""

from __future__ import annotations

import dataclasses
import os
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from .. import bounds
from ..bounds import Bounds
from ..errors import UsageError
from ..storage.store import DEFAULT
from ..study.metric import MetricName
from ..study.offered import Attention, Bits, Dtype, Format
from ..study.pruners import PRUNERS, PrunerSettings
from ..study.samplers import SAMPLERS, SamplerSettings
from ..study.settings import Registry
from ..yamlfile import complaint
from .data_option import LONGEST, Given, read_data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """What there is to say of an option beside its name and its type."""

    help: str
    """What it is for, in a sentence or two."""
    metavar: str = ""
    """What stands for its value in the help."""
    bounds: Bounds | None = None
    """Between what a number may lie."""
    default: str | None = None
    """The default in words where the value does not say it; empty where the help does."""
    registry: Registry[Any] | None = None
    """The kinds that may be named, each with settings behind a colon."""
    in_file: bool = True
    """Whether a config file may hold it; else it belongs to one run."""


def _path(value: object) -> object:
    """Take a ``Path`` as its text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _number(value: object) -> float:
    from ..spaces.parse import number  # it loads what a space is made of, which help need not wait for

    return number(value)


Text = Annotated[str, Field(min_length=1, max_length=LONGEST), BeforeValidator(_path)]
Real = Annotated[float, BeforeValidator(_number)]
AutoOrCount = int | str


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    if not TYPE_CHECKING:  # a type checker takes the arguments from the fields

        def __init__(self, **values: Any) -> None:
            """Check and keep what was given; raises ``UsageError``."""
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise UsageError(complaint(error, type(self).model_fields)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _is_a_count(cls, value: object, info: ValidationInfo) -> object:
        ends = _ends_of(cls, info)
        if ends is None or cls.model_fields[str(info.field_name)].annotation != AutoOrCount:
            return value
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value == "auto" or (whole and ends.low <= value <= ends.high):  # type: ignore[operator]
            return value
        raise ValueError(f"is neither 'auto' nor a whole number from {ends.low} to {ends.high}")

    @field_validator("*", mode="after")
    @classmethod
    def _is_within(cls, value: object, info: ValidationInfo) -> object:
        ends = _ends_of(cls, info)
        if ends is None or not isinstance(value, int | float):
            return value
        if value < ends.low:
            raise ValueError(f"is less than {ends.low}" if not ends.above else f"is not above {ends.low}")
        if ends.above and value == ends.low:
            raise ValueError(f"is not above {ends.low}")
        if value > ends.high:
            raise ValueError(f"is more than {ends.high}")
        return value

    def with_given(self, values: dict[str, Any]) -> Self:
        """Return these options with others over them, which have been checked where they were read."""
        return self.model_copy(
            update={name: values[name] for name in type(self).model_fields if name in values}
        )


class SearchOptions(_Options):
    """What is searched: model, data, space and how; it makes the study."""

    model: Annotated[
        Text | None,
        Option(help="Base model: a Hub id or a folder.", metavar="ID|PATH", default="the embedded demo"),
    ] = None
    revision: Annotated[Text | None, Option(help="Branch, tag or commit of a Hub model.", metavar="REV")] = (
        None
    )
    data: Annotated[
        Given | None,
        PlainValidator(read_data),
        Option(
            help="Records: JSON, JSONL, CSV or Parquet. Given again, the files are joined in their order.",
            metavar="PATH",
            default="the embedded demo",
        ),
    ] = None
    validation: Annotated[
        Text | None, Option(help="Validation records; else 15 % of --data.", metavar="PATH")
    ] = None
    test: Annotated[Text | None, Option(help="Test records; else 15 % of --data.", metavar="PATH")] = None
    format: Annotated[Format, Option(help="Layout of the records.")] = "auto"
    columns: Annotated[
        Text | dict[str, str | list[str]] | None,
        Option(
            help="What each column is: prompt=instruction,context,completion=output.",
            metavar="ROLE=COLUMN",
            default="by their names",
        ),
    ] = None
    template: Annotated[
        Text, Option(help="Chat template; the model's own by default.", metavar="NAME", default="")
    ] = "auto"
    encoding: Annotated[Text, Option(help="Encoding of text files.", metavar="NAME")] = "utf-8"
    cutoff_len: Annotated[
        int,
        Option(help="Longest example; more is cut.", metavar="TOKENS", bounds=bounds.CUTOFF_LEN),
    ] = 1024
    trials: Annotated[int, Option(help="Trials of the study in all.", metavar="N", bounds=bounds.TRIALS)] = (
        100
    )
    examples_in_all: Annotated[
        int | None,
        Option(
            help="Instead of --trials: training examples for everything, up to a model that is trained to "
            "the end; the search divides them.",
            metavar="N",
            bounds=bounds.EXAMPLES_IN_ALL,
        ),
    ] = None
    hours: Annotated[
        Real | None,
        Option(
            help="The same in hours, by the speed that is measured first.",
            metavar="H",
            bounds=bounds.HOURS,
        ),
    ] = None
    study: Annotated[
        Text | None, Option(help="The study's name; made of model and data by default.", metavar="NAME")
    ] = None
    space: Annotated[
        Text | None,
        Option(
            help="default, tiny, large, quickllm or a YAML file; by the model's size.", metavar="PRESET|FILE"
        ),
    ] = None
    examples: Annotated[
        int | None,
        Option(
            help="Training examples of a trial; by the batch sizes and the data.",
            metavar="N",
            bounds=bounds.EXAMPLES,
        ),
    ] = None
    eval_examples: Annotated[
        int | None,
        Option(help="Validation examples of the final evaluation.", metavar="N", bounds=bounds.EXAMPLES),
    ] = None
    metric: Annotated[
        MetricName,
        Option(help="What the best trial is selected by; the loss is what stops trials early."),
    ] = "loss"
    max_grad_norm: Annotated[
        Real, Option(help="Clip gradients to this norm.", metavar="X", bounds=bounds.MAX_GRAD_NORM)
    ] = 1.0
    dtype: Annotated[Dtype, Option(help="Numbers of the base model.")] = "auto"
    quantization_bit: Annotated[
        Bits | None,
        Option(help="Load the frozen base model's linear layers in so many bits (QLoRA), by bitsandbytes."),
    ] = None
    device: Annotated[Text, Option(help="cpu, cuda or cuda:N.", metavar="NAME")] = "auto"
    attn_implementation: Annotated[Attention, Option(help="Attention.")] = "sdpa"
    sampler: Annotated[
        SamplerSettings,
        PlainValidator(SAMPLERS.parse),
        PlainSerializer(str),
        Option(help="Who proposes trials; tpe:startup=20 sets one of its numbers.", registry=SAMPLERS),
    ] = SAMPLERS.default
    pruner: Annotated[
        PrunerSettings,
        PlainValidator(PRUNERS.parse),
        PlainSerializer(str),
        Option(
            help="Who stops bad ones early; halving:factor=3,peers=6 sets two of its numbers.",
            registry=PRUNERS,
            default="halving; halving:first=1,peers=3 with --examples-in-all or --hours",
        ),
    ] = PRUNERS.default
    seed: Annotated[
        int,
        Option(help="Seed of sampler, data order and adapters.", metavar="N", bounds=bounds.SEED),
    ] = 0
    keep_adapters: Annotated[
        int, Option(help="Best adapters kept on disk.", metavar="N", bounds=bounds.KEEP_ADAPTERS)
    ] = 5
    set: Annotated[
        dict[str, Any] | None,
        Option(
            help="One parameter: learning_rate=1e-5..2e-3:log, lora_rank=8,16,32 or batch_size=8.",
            metavar="NAME=SPEC",
        ),
    ] = None
    enqueue: Annotated[
        list[dict[str, Any]] | None,
        Option(
            help="A configuration to try first: '{learning_rate: 1e-3, lora_rank: 8}'.", metavar="MAPPING"
        ),
    ] = None
    learn_from: Annotated[
        Text | None,
        Option(
            help="Try the best of an earlier study first: its name, or auto for one of this or a like model.",
            metavar="STUDY|auto",
        ),
    ] = None
    gradient_checkpointing: Annotated[
        bool | None, Option(help="Recompute activations; decided by memory by default.")
    ] = None
    trust_remote_code: Annotated[bool, Option(help="Run Python code of the model's own.")] = False
    storage: Annotated[
        Text | None,
        Option(help="Database of studies; also TUNE_STORAGE.", metavar="FILE|URL", default=DEFAULT),
    ] = None
    sets: tuple[str, ...] = ()
    """Texts of ``--set`` one by one, which go over ``set``; no option of its own."""


class RunOptions(_Options):
    """How one run of a study is made, on this machine; no part of the study."""

    slots: Annotated[
        AutoOrCount,
        Option(
            help="Trials at once in a worker, at most; a study keeps the last number given, also on a later "
            "resume.",
            bounds=bounds.SLOTS,
        ),
    ] = "auto"
    workers: Annotated[
        AutoOrCount,
        Option(help="Processes, one per GPU or core; of more, several share a GPU.", bounds=bounds.WORKERS),
    ] = "auto"
    timeout: Annotated[
        Real | None,
        Option(help="End after so long; resume goes on.", metavar="SECONDS", bounds=bounds.TIMEOUT),
    ] = None
    deterministic: Annotated[
        bool,
        Option(
            help="Let workers wait for each other, and a GPU add up in one order: the same trials each time.",
            in_file=False,
        ),
    ] = False
    take_over: Annotated[bool, Option(help="End another live search of the study first.", in_file=False)] = (
        False
    )

    @property
    def slots_wanted(self) -> int | None:
        """Trials that train at once in one worker; None lets memory decide."""
        return None if isinstance(self.slots, str) else self.slots

    @property
    def workers_wanted(self) -> int | None:
        """Worker processes; None lets the machine decide."""
        return None if isinstance(self.workers, str) else self.workers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """One option of a model, as whoever offers it needs it."""

    name: str
    """The field's, as a config file writes it."""
    option: Option
    """What was said of it."""
    kind: Literal["text", "choice", "whole", "real", "count", "switch", "either", "several"]
    """What it takes; ``count`` also takes ``auto``, ``either`` is on, off or left open."""
    choices: tuple[str | int, ...] = ()
    """The words or numbers that may be given, where that is a list."""
    default: str
    """The default in words; empty where there is none to tell."""

    @property
    def flag(self) -> str:
        """The long option of the command."""
        return "--" + self.name.replace("_", "-")

    @property
    def help(self) -> str:
        """What it is for, and its default."""
        return self.option.help + (f"  [default: {self.default}]" if self.default else "")


def described(model: type[SearchOptions | RunOptions]) -> tuple[Described, ...]:
    """Return the options of a model, in the order in which they are written."""
    hints = get_type_hints(model)
    return tuple(
        _describe(name, hints[name], option, field.default)
        for name, field in model.model_fields.items()
        if (option := _option_of(field)) is not None
    )


def in_file() -> dict[str, type[SearchOptions | RunOptions]]:
    """Return what a config file may hold, by name, and whose option it is."""
    models: tuple[type[SearchOptions | RunOptions], ...] = (SearchOptions, RunOptions)
    return {one.name: model for model in models for one in described(model) if one.option.in_file}


def _describe(name: str, hint: Any, option: Option, value: object) -> Described:
    default = "" if value is None or value is False else str(value)
    union = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    kinds = [one for one in union if one is not NoneType]
    first = kinds[0]
    kind: Any = "text"
    choices: tuple[str | int, ...] = ()
    if option.registry is not None:
        kind, choices = "choice", option.registry.names
    elif get_origin(first) is Literal:
        kind, choices = "choice", get_args(first)
    elif get_origin(first) in (dict, list) or any(get_origin(one) is tuple for one in kinds):
        kind = "several"
    elif first is bool:
        kind = "either" if value is None else "switch"
    elif first is int:
        kind = "count" if str in kinds else "whole"
    elif first is float:
        kind = "real"
    return Described(
        name=name,
        option=option,
        kind=kind,
        choices=choices,
        default=default if option.default is None else option.default,
    )


def _option_of(field: FieldInfo) -> Option | None:
    return next((one for one in field.metadata if isinstance(one, Option)), None)


def _ends_of(model: type[BaseModel], info: ValidationInfo) -> Bounds | None:
    option = _option_of(model.model_fields[str(info.field_name)])
    return None if option is None else option.bounds
