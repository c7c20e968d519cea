"""What the user chose for a study, as one value that is stored with it and compared with the next one.

Does not know what a worker found (``facts.Facts``) nor how many trials are wanted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from ..errors import LoratuneError, StorageError, UsageError
from ..spaces.params import LoraParams
from ..spaces.space import SearchSpace
from .as_json import to_json
from .config import DataConfig, ObjectiveConfig
from .ladder import Ladder
from .metric import METRICS
from .pruners import PRUNERS, PrunerSettings
from .samplers import SAMPLERS, SamplerSettings
from .stage import Stage

DEFAULT = "default"
"""What the configuration of trial 0 is called, where it is the known-good one of a preset."""

_OBJECTIVE = pydantic.TypeAdapter(ObjectiveConfig)
_UNSET = repr(None)
_LOCAL: Mapping[str, Any] = {
    "plain": None,
    "geometry": None,
    "found": None,
    "cache_dir": None,
    "slots": None,
    "pass_tokens": None,
    "dropout": True,
    "deterministic": False,
}
"""What of the objective depends on the machine or the run, and what stands for it in the study."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Everything that the user chose; checked when made, raises ``SpaceError`` or ``UsageError``."""

    space: SearchSpace
    """What may be tried."""
    preset: str
    """Name of the preset that the space began from."""
    default_source: str
    """Where trial 0 comes from, in words."""
    default_name: str = DEFAULT
    """What that configuration is called: the name of the user's own file, where it is from one."""
    objective: ObjectiveConfig
    """Model, data and budget; what depends on the machine or the run (``_LOCAL``) is left out."""
    sampler: SamplerSettings = SAMPLERS.default
    """Who proposes trials, and what it goes by."""
    pruner: PrunerSettings = PRUNERS.default
    """Who stops them early, and what it goes by."""
    seed: int = 0
    """Seed of the sampler; that of the data order and the adapters is in ``objective``."""
    first: tuple[LoraParams, ...]
    """The first trials: the default, then what was listed to be tried; all inside the space."""
    keep_adapters: int = 5
    """How many of the best trials keep their adapters on disk, at least 1."""
    keep_held: int = 0
    """How many of the best trials keep their state from before the decay of their learning rate."""
    ladder: Ladder | None = None
    """How training examples are spent up to a model that is trained to the end; None for a search alone."""
    learned_from: str | None = None
    """The earlier study whose best trials are the last of ``first``; None where none was learned from."""
    stage: Stage | None = None
    """What a study that follows from another trains; None for a search."""

    def __post_init__(self) -> None:
        if self.keep_adapters < 1:
            raise UsageError(
                f"keep_adapters: {self.keep_adapters} is less than 1; the best one is always kept"
            )
        if self.seed < 0:
            raise UsageError(f"seed: {self.seed} is negative; give 0 or more")
        listed = () if self.stage is None else tuple(entry.params for entry in self.stage.entries)
        for params in (*self.first, *listed):
            self.space.encode(params)
        portable = dataclasses.replace(self.objective, **_LOCAL)
        object.__setattr__(self, "objective", portable)
        object.__setattr__(self, "first", tuple(dict.fromkeys(self.first)))

    @property
    def has_own(self) -> bool:
        """Whether trial 0 is the user's own run, from a file of their trainer."""
        return self.default_name != DEFAULT

    @property
    def uses_dropout(self) -> bool:
        """Whether a trial may use dropout, which takes memory."""
        listed = () if self.stage is None else tuple(entry.params for entry in self.stage.entries)
        return self.space.has_dropout() or any(one.lora_dropout > 0 for one in (*self.first, *listed))

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as plain dictionaries and lists."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["space"] = self.space.to_dict()
        values["objective"] = {
            name: to_json(value) for name, value in vars(self.objective).items() if name not in _LOCAL
        }
        values["sampler"] = self.sampler.to_json()
        values["pruner"] = self.pruner.to_json()
        values["first"] = [params.to_dict() for params in self.first]
        # Left out where they say nothing: a search's configuration is what older versions wrote.
        for name in ("stage", "ladder"):
            if values[name] is None:
                del values[name]
            else:
                values[name] = values[name].to_json()
        if not self.has_own:
            del values["default_name"]
        if not self.keep_held:
            del values["keep_held"]
        if self.learned_from is None:
            del values["learned_from"]
        if self.objective.stopping is None:
            del values["objective"]["stopping"]
        if METRICS[self.objective.metric].is_loss:
            del values["objective"]["metric"]
        if not self.objective.data.more:
            del values["objective"]["data"]["more"]
        if self.objective.model.quantization_bit is None:
            del values["objective"]["model"]["quantization_bit"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StudyConfig:
        """Make a configuration from what ``to_json`` returned; raises ``StorageError``."""
        known = {field.name for field in dataclasses.fields(cls)}
        try:
            given = {name: value for name, value in values.items() if name in known}
            given["space"] = SearchSpace.from_dict(values["space"])
            given["objective"] = _OBJECTIVE.validate_python(_with_rules(values["objective"]))
            given["first"] = tuple(LoraParams.from_dict(params) for params in values["first"])
            # A study of before these were stored goes by what they were then.
            given["sampler"] = SAMPLERS.from_json(values.get("sampler", "tpe"))
            given["pruner"] = PRUNERS.from_json(values.get("pruner", "asha"))
            for name, kind in (("stage", Stage), ("ladder", Ladder)):
                if given.get(name) is not None:
                    given[name] = kind.from_json(given[name])
            return cls(**given)
        except (AttributeError, LookupError, LoratuneError, TypeError, ValueError) as error:
            raise StorageError(
                "the stored configuration cannot be read; it is damaged, which tune db check may tell, or "
                "was made by another version of loratune"
            ) from error

    def differences(self, other: StudyConfig) -> tuple[str, ...]:
        """Return a clause for each thing that ``other`` has otherwise: ``seed is 0, not 1``."""

        mine, theirs = self._words(), other._words()
        return tuple(
            _otherwise(name, mine.get(name, _UNSET), theirs.get(name, _UNSET))
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        )

    def _words(self) -> dict[str, str]:
        """Return every leaf by its name, in words."""
        values = self.to_json()
        values["sampler"], values["pruner"] = self.sampler.spelled, self.pruner.spelled
        del values["space"], values["first"], values["default_source"]
        values.pop("default_name", None)
        # Not the user's choice: where other rules give other tokens, the data's fingerprint tells.
        del values["objective"]["data"]["rules"]
        # Nor this: a study goes on as it was made.
        del values["objective"]["even_lengths"]
        listed = values.pop("stage", None)
        values["objective"]["data"].pop("more", None)
        words = _leaves(values)
        words["data.train"] = _files_in_words(self.objective.data)
        if listed is not None:
            words["trials"] = repr(listed)
        words.update({f"space.{name}": text for name, text in self.space.describe()})
        words["first trials"] = "; ".join(
            ", ".join(f"{name} {value}" for name, value in params.to_dict().items()) for params in self.first
        )
        return words


def _otherwise(name: str, there: str, here: str) -> str:
    """Return what one thing is in a study and what it is not, which would be misread of what is not set.

    >>> _otherwise("seed", "0", "1"), _otherwise("model.quantization_bit", "4", "None")
    ('seed is 0, not 1', 'model.quantization_bit is 4 there and not set here')
    """
    if _UNSET in (there, here):
        there, here = ("not set" if one == _UNSET else one for one in (there, here))
        return f"{name} is {there} there and {here} here"
    return f"{name} is {there}, not {here}"


def _files_in_words(data: DataConfig) -> str:
    """Return the files to train on in their order, with how the later ones are read where that was said."""
    words = [repr(data.train)]
    for one in data.more:
        layout = "" if one.format == "auto" else f" as {one.format}"
        columns = "" if one.columns is None else f" of columns {list(one.columns)}"
        words.append(f"{one.path!r}{layout}{columns}")
    return " and ".join(words)


def _with_rules(objective: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored objective with what its data were read by before that was said."""
    return {"even_lengths": False, **objective, "data": {"rules": 1, **objective["data"]}}


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    """Return nested values by their dotted names, without the name of the objective itself."""
    if not isinstance(value, dict):
        return {name.removeprefix("objective."): repr(value)}
    found: dict[str, str] = {}
    for key, item in value.items():
        found.update(_leaves(item, f"{name}.{key}" if name else key))
    return found
