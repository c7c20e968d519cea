"""The file of ``--config``: a YAML mapping whose keys are the command's long options.

Only what the file says is handed on; the command's own defaults, and what a flag of the command
may override, are the command's matter. Does not look at models, data or databases.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..errors import SpaceError, UsageError
from . import bounds
from .bounds import Bounds
from .params import NAMES
from .parse import configuration, dimensions, number
from .yamlfile import complaint, read_mapping


def _count_or_auto(ends: Bounds) -> Callable[[object], object]:
    def check(value: object) -> object:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value == "auto" or (whole and ends.low <= value <= ends.high):  # type: ignore[operator]
            return value
        raise ValueError(f"is neither 'auto' nor a whole number from {ends.low} to {ends.high}")

    return check


def _within(ends: Bounds) -> Any:
    return Field(gt=ends.low, le=ends.high) if ends.above else Field(ge=ends.low, le=ends.high)


Text = Annotated[str, Field(min_length=1, max_length=4096)]


ONE_RUN = ("debug", "deterministic", "take_over")
"""Options of ``tune search`` that are flags alone."""


class Settings(BaseModel):
    """What a config file may say; every field is one long option of ``tune search``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Text | None = None
    """A folder or a Hub id."""
    revision: Text | None = None
    """The Hub's branch, tag or commit."""
    data: Text | None = None
    """The file of records."""
    validation: Text | None = None
    """A file for validation."""
    test: Text | None = None
    """A file for the test set."""
    format: Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"] = "auto"
    """How the records are laid out."""
    columns: Text | dict[str, str | list[str]] | None = None
    """What each column is: text as of ``--columns``, or a mapping from roles to columns."""
    template: Text | None = None
    """``auto`` or the name of a built-in template."""
    encoding: Text | None = None
    """Encoding of text files."""
    cutoff_len: Annotated[int, _within(bounds.CUTOFF_LEN)] | None = None
    """Longest example in tokens."""
    trials: Annotated[int, _within(bounds.TRIALS)] | None = None
    """Trials of the study in all."""
    study: Text | None = None
    """The study's name."""
    storage: Text | None = None
    """A file or the URL of a database."""
    space: Text | None = None
    """A preset's name or a YAML file of parameters."""
    set: dict[str, Any] | None = None
    """Parameters over the space: texts as of ``--set``, numbers, lists, or ``{low, high, log}``."""
    examples: Annotated[int, _within(bounds.EXAMPLES)] | None = None
    """Training examples of a trial."""
    eval_examples: Annotated[int, _within(bounds.EXAMPLES)] | None = None
    """Validation examples of the final evaluation."""
    max_grad_norm: Annotated[float, BeforeValidator(number), _within(bounds.MAX_GRAD_NORM)] | None = None
    """Gradients are clipped to this norm."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the base model."""
    device: Text | None = None
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    """The attention of Transformers."""
    gradient_checkpointing: bool | None = None
    """Recompute activations in the backward pass."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    slots: Annotated[int | str, BeforeValidator(_count_or_auto(bounds.SLOTS))] = "auto"
    """Trials that train at once in one worker."""
    workers: Annotated[int | str, BeforeValidator(_count_or_auto(bounds.WORKERS))] = "auto"
    """Worker processes."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Who proposes the trials."""
    pruner: Literal["asha", "none"] = "asha"
    """Who stops the bad ones early."""
    seed: Annotated[int, _within(bounds.SEED)] = 0
    """Seed of the sampler, the data order and the adapters; the split of the data has its own."""
    timeout: Annotated[float, BeforeValidator(number), _within(bounds.TIMEOUT)] | None = None
    """Seconds after which the search ends, ready to be resumed."""
    keep_adapters: Annotated[int, _within(bounds.KEEP_ADAPTERS)] | None = None
    """How many of the best adapters stay on disk."""
    enqueue: list[dict[str, Any]] | None = None
    """Configurations to try first, each a mapping from parameters to values."""


def load_settings(path: Path) -> dict[str, Any]:
    """Return what a config file says, under the names of the long options with underscores.

    ``set`` and ``enqueue`` stay as they were written (checked), for ``parse.build_space`` and
    ``parse.configuration``. A key may be written with hyphens, as the option is.

    Raises:
        UsageError: the file cannot be read, or a key or its value is wrong; names the field's path.
        SpaceError: a parameter under ``set`` or ``enqueue`` is wrong.
    """
    where = " ".join(str(path).split())
    content: dict[str, Any] = {}
    for key, value in read_mapping(path, UsageError).items():
        name = key.replace("-", "_")
        if name in content:
            raise UsageError(f"{where}: {name}: is given twice, with hyphens and with underscores")
        content[name] = value
    for name in content:
        if name in NAMES:
            raise UsageError(f"{where}: {name}: is a parameter; write it under set:, as set: {{{name}: …}}")
        if name in ONE_RUN:
            raise UsageError(f"{where}: {name}: belongs to one run; give it as a flag")
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{where}: {complaint(error, Settings.model_fields)}") from None
    path_of = "set"
    try:
        dimensions(settings.set or {})
        for index, values in enumerate(settings.enqueue or ()):
            path_of = f"enqueue.{index}"
            configuration(values)
    except SpaceError as error:
        raise SpaceError(f"{where}: {path_of}.{error}") from None
    return settings.model_dump(exclude_unset=True, exclude_none=True)
