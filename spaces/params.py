"""One trial's hyperparameters, under the names that Transformers, PEFT and LLaMA-Factory use: the register.

Each field of ``LoraParams`` says all about one hyperparameter; limits, listings, tables, the documentation
and the exports take it from here. Does not know how they are searched (space.py) or how a trial is trained.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from ..errors import SpaceError, nearest, shown
from .hyperparameter import Hyperparameter
from .value_kinds import Modules, Number, Switch, Whole, Word, module_names

SCHEDULERS = ("linear", "cosine", "constant_with_warmup", "warmup_stable_decay")

LARGEST_WHOLE = 65536
"""Largest ``batch_size`` and ``lora_rank``; more is a slip of the keyboard."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraParams:
    """The hyperparameters of one trial; checked when made, raises ``SpaceError``."""

    learning_rate: Annotated[
        float,
        Hyperparameter(
            kind=Number(above=0.0),
            meaning="peak learning rate of AdamW",
            heading="lr",
            leading=True,
            form=".2e",
            width=8,
            trainer="learning_rate",
        ),
    ]
    batch_size: Annotated[
        int,
        Hyperparameter(
            kind=Whole(most=LARGEST_WHOLE),
            meaning="examples per optimizer step, the effective batch size",
            heading="batch",
            leading=True,
            trainer="per_device_train_batch_size",
        ),
    ]
    lora_rank: Annotated[
        int,
        Hyperparameter(
            kind=Whole(most=LARGEST_WHOLE),
            meaning="rank r of the update B·A",
            heading="rank",
            leading=True,
            peft="r",
        ),
    ]
    lora_alpha: Annotated[
        float,
        Hyperparameter(
            kind=Number(above=0.0),
            meaning="the update is scaled by `lora_alpha / lora_rank`; instead of the ratio, never beside it",
            heading="alpha",
            leading=True,
            peft="lora_alpha",
        ),
    ]
    warmup_ratio: Annotated[
        float,
        Hyperparameter(
            kind=Number(least=0.0, below=1.0),
            meaning="share of the optimizer steps over which the learning rate rises from 0",
            heading="warmup",
            # Below 1 Transformers 5 takes it as the share of all steps that it is.
            trainer="warmup_steps",
        ),
    ] = 0.0
    lora_dropout: Annotated[
        float,
        Hyperparameter(
            kind=Number(least=0.0, below=1.0),
            meaning="chance that an input feature of an adapter is dropped while training",
            heading="dropout",
            peft="lora_dropout",
        ),
    ] = 0.0
    weight_decay: Annotated[
        float,
        Hyperparameter(
            kind=Number(least=0.0),
            meaning="decoupled weight decay of AdamW on the adapter's weights",
            heading="decay",
            trainer="weight_decay",
        ),
    ] = 0.0
    lora_target: Annotated[
        str,
        Hyperparameter(
            kind=Modules(),
            meaning="which layers have an adapter; `all` is every linear one but the head",
            heading="target",
            peft="target_modules",
        ),
    ] = "all"
    lr_scheduler_type: Annotated[
        str,
        Hyperparameter(
            kind=Word(options=SCHEDULERS),
            meaning="how the learning rate goes on after its warm-up",
            heading="scheduler",
            trainer="lr_scheduler_type",
        ),
    ] = "cosine"
    loraplus_lr_ratio: Annotated[
        float,
        Hyperparameter(
            kind=Number(above=0.0),
            meaning="LoRA+ (Hayou et al., 2024): the learning rate of B over that of A; 1 is plain LoRA",
            heading="lora+",
        ),
    ] = 1.0
    use_rslora: Annotated[
        bool,
        Hyperparameter(
            kind=Switch(),
            meaning="rsLoRA (Kalajdzievski, 2023): the update is scaled by `lora_alpha / √lora_rank` instead",
            heading="rslora",
            peft="use_rslora",
        ),
    ] = False

    def __post_init__(self) -> None:
        for name, one in FIELDS.items():
            one.kind.check(name, getattr(self, name))

    @property
    def target_names(self) -> tuple[str, ...]:
        """The module names of ``lora_target``, sorted and without repeats; ``("all",)`` for all."""
        return tuple(sorted(set(module_names(self.lora_target))))

    @property
    def scaling(self) -> float:
        """The factor on the update: ``lora_alpha / lora_rank``, under rsLoRA over the root of the rank."""
        return self.lora_alpha / (math.sqrt(self.lora_rank) if self.use_rslora else self.lora_rank)

    @property
    def alpha_ratio(self) -> float:
        """``lora_alpha / lora_rank``, whatever the update is scaled by."""
        return self.lora_alpha / self.lora_rank

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LoraParams:
        """Make parameters from a dictionary; an unknown name raises ``SpaceError``."""
        for name in values:
            if name not in FIELDS:
                raise SpaceError(f"{shown(name)}: not a hyperparameter{nearest(str(name), FIELDS)}")
        missing = [name for name, one in FIELDS.items() if one.default is None and name not in values]
        if missing:
            raise SpaceError(f"{missing[0]}: has no value; a configuration needs {', '.join(missing)}")
        return cls(**values)


def _fields() -> dict[str, Hyperparameter]:
    """Return what each field of ``LoraParams`` says of its hyperparameter, with its name and default."""
    hints = typing.get_type_hints(LoraParams, include_extras=True)
    found = {}
    for field in dataclasses.fields(LoraParams):
        (said,) = hints[field.name].__metadata__
        default = None if field.default is dataclasses.MISSING else field.default
        found[field.name] = dataclasses.replace(said, name=field.name, default=default)
    return found


FIELDS: dict[str, Hyperparameter] = _fields()
"""The fields of ``LoraParams`` by name, in their order."""

RATIO = Hyperparameter(
    name="lora_alpha_ratio",
    kind=Number(above=0.0),
    meaning="`lora_alpha` is this times `lora_rank`",
    stands_for="lora_alpha",
    heading="alpha/rank",
    leading=True,
)
"""What is searched in the place of ``lora_alpha``, of which the good values move with the rank."""


def _searched() -> dict[str, Hyperparameter]:
    found: dict[str, Hyperparameter] = {}
    for name, one in FIELDS.items():
        if name == RATIO.stands_for:
            found[RATIO.name] = RATIO
        found[name] = one
    return found


HYPERPARAMETERS: dict[str, Hyperparameter] = _searched()
"""All that may be searched by name, in the order of every listing."""

NAMES: tuple[str, ...] = tuple(HYPERPARAMETERS)
"""What may be searched, in the order of every listing."""


def check_name(name: object) -> None:
    """Raise ``SpaceError``, with the nearest name, unless ``name`` may be searched."""
    if name not in NAMES:
        hint = nearest(str(name), NAMES) or f"; there are {', '.join(NAMES)}"
        raise SpaceError(f"{shown(name)}: not a parameter that can be searched{hint}")


def value_of(params: LoraParams, name: str) -> Any:
    """Return a parameter under its search name; ``lora_alpha_ratio`` is ``lora_alpha / lora_rank``."""
    return params.alpha_ratio if name == RATIO.name else getattr(params, name)


def from_searched(values: Mapping[str, Any]) -> LoraParams:
    """Return parameters from values under search names, all of them."""
    named = dict(values)
    if RATIO.name in named:
        named["lora_alpha"] = named.pop(RATIO.name) * named["lora_rank"]
    return LoraParams(**named)
