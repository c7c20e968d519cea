"""The options of the command, each written down once.

An option of a study is a line of ``STUDY``: its flag, what it takes, and what it is for. Defaults are
not here but in the values that are made of them, so that a config file and a flag agree.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import shown
from ..spaces import bounds
from ..spaces.bounds import Bounds
from ..storage.store import DEFAULT

Command = Callable[..., Any]


@dataclasses.dataclass(kw_only=True)
class Call:
    """What a call of the command has told of itself so far; options fill it while they are read."""

    debug: bool = False
    """Whether errors are shown whole."""
    storage: str | None = None
    """The database, as the user named it."""

    @classmethod
    def from_environment(cls) -> Call:
        """Return a call of which only the environment is known: ``TUNE_DEBUG``."""
        return cls(debug=os.environ.get("TUNE_DEBUG", "") not in ("", "0"))


class CountOrAuto(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """``auto``, or how many."""

    name = "auto|N"

    def __init__(self, ends: Bounds) -> None:
        self._ends = ends

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or ``auto``."""
        if value == "auto":
            return "auto"
        # Python itself refuses to read thousands of digits, and reads those of all alphabets.
        number = int(value) if re.fullmatch(r"\+?\d{1,20}", str(value), re.ASCII) else 0
        ends = self._ends
        if not ends.low <= number <= ends.high:
            words = f"is neither auto nor a whole number from {ends.low} to {ends.high}"
            self.fail(f"{shown(value)} {words}", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number between two ends, complained of in few letters however long it is."""

    def __init__(self, ends: Bounds) -> None:
        super().__init__(min=int(ends.low), max=int(ends.high))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        whole = re.fullmatch(r"[+-]?\d{1,20}", str(value), re.ASCII)
        if whole and int(self.min or 0) <= int(value) <= int(self.max or 0):
            return int(value)
        return self.fail(f"{shown(value)} is no whole number from {self.min} to {self.max}", param, ctx)


class Real(click.FloatRange):
    """A number between two ends; neither infinite nor none at all."""

    def __init__(self, ends: Bounds) -> None:
        super().__init__(min=ends.low, max=ends.high, min_open=ends.above)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if math.isnan(number):
            least = "above" if self.min_open else "from"
            self.fail(f"{shown(value)} is no number {least} {self.min:g} and up to {self.max:g}", param, ctx)
        return number


class _File(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A path; whether something lies there is for whoever opens it to say."""

    name = "PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        if isinstance(value, str) and not value.strip():
            self.fail("is empty; name a file", param, ctx)
        return Path(value)


FILE = _File()
FORMATS = click.Choice(["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"])
DTYPES = click.Choice(["auto", "float32", "bfloat16", "float16"])

STUDY: tuple[tuple[str, Any, str, str], ...] = (
    ("--config", FILE, "FILE", "YAML of these options; flags go over it."),
    ("--model", str, "ID|PATH", "Base model: a Hub id or a folder.  [default: the embedded demo]"),
    ("--revision", str, "REV", "Branch, tag or commit of a Hub model."),
    ("--data", str, "PATH", "Records: JSON, JSONL, CSV or Parquet.  [default: the embedded demo]"),
    ("--validation", str, "PATH", "Validation records; else 15 % of --data."),
    ("--test", str, "PATH", "Test records; else 15 % of --data."),
    ("--format", FORMATS, "", "Layout of the records.  [default: auto]"),
    (
        "--columns",
        str,
        "ROLE=COLUMN",
        "What each column is: prompt=instruction,context,completion=output.  [default: by their names]",
    ),
    ("--template", str, "NAME", "Chat template; the model's own by default."),
    ("--encoding", str, "NAME", "Encoding of text files.  [default: utf-8]"),
    ("--cutoff-len", Whole(bounds.CUTOFF_LEN), "TOKENS", "Longest example; more is cut.  [default: 1024]"),
    ("--trials", Whole(bounds.TRIALS), "N", "Trials of the study in all.  [default: 100]"),
    ("--study", str, "NAME", "The study's name; made of model and data by default."),
    ("--space", str, "PRESET|FILE", "default, tiny, quickllm or a YAML file; by the model's size."),
    (
        "--examples",
        Whole(bounds.EXAMPLES),
        "N",
        "Training examples of a trial; by the batch sizes and the data.",
    ),
    ("--eval-examples", Whole(bounds.EXAMPLES), "N", "Validation examples of the final evaluation."),
    ("--max-grad-norm", Real(bounds.MAX_GRAD_NORM), "X", "Clip gradients to this norm.  [default: 1.0]"),
    ("--dtype", DTYPES, "", "Numbers of the base model.  [default: auto]"),
    ("--device", str, "NAME", "cpu, cuda or cuda:N.  [default: auto]"),
    ("--attn-implementation", click.Choice(["sdpa", "eager"]), "", "Attention.  [default: sdpa]"),
    ("--sampler", click.Choice(["tpe", "random"]), "", "Who proposes trials.  [default: tpe]"),
    ("--pruner", click.Choice(["asha", "none"]), "", "Who stops bad ones early.  [default: asha]"),
    (
        "--seed",
        Whole(bounds.SEED),
        "N",
        "Seed of sampler, data order and adapters.  [default: 0]",
    ),
    ("--keep-adapters", Whole(bounds.KEEP_ADAPTERS), "N", "Best adapters kept on disk.  [default: 5]"),
)
"""Flag, type, metavar, help."""


def study_options(command: Command) -> Command:
    """Add everything that makes a study."""
    switches = (
        click.option(
            "--set",
            multiple=True,
            metavar="NAME=SPEC",
            help="One parameter: learning_rate=1e-5..2e-3:log, lora_rank=8,16,32 or batch_size=8.",
        ),
        click.option(
            "--enqueue",
            multiple=True,
            metavar="MAPPING",
            help="A configuration to try first: '{learning_rate: 1e-3, lora_rank: 8}'.",
        ),
        click.option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            default=None,
            help="Recompute activations; decided by memory by default.",
        ),
        click.option(
            "--trust-remote-code", is_flag=True, default=None, help="Run Python code of the model's own."
        ),
    )
    plain = (
        click.option(flag, type=kind, metavar=metavar or None, help=words)
        for flag, kind, metavar, words in STUDY
    )
    for option in reversed([*plain, *switches]):
        command = option(command)
    return command


def machine_options(command: Command) -> Command:
    """Add what belongs to the machine and this run, not to the study."""
    for option in (
        click.option(
            "--deterministic",
            is_flag=True,
            help="Let workers wait for each other, and a GPU add up in one order: the same trials each time.",
        ),
        click.option(
            "--timeout",
            type=Real(bounds.TIMEOUT),
            metavar="SECONDS",
            help="End after so long; resume goes on.",
        ),
        click.option(
            "--workers",
            type=CountOrAuto(bounds.WORKERS),
            help="Processes, one per GPU or core.  [default: auto]",
        ),
        click.option(
            "--slots",
            type=CountOrAuto(bounds.SLOTS),
            help="Trials at once in a worker, at most; a study keeps the last number given, also on "
            "a later resume.  [default: auto]",
        ),
    ):
        command = option(command)
    return command


def storage_option(command: Command) -> Command:
    """Add ``--storage``; the environment is no part of it, since a config file goes over that."""
    return click.option(
        "--storage",
        metavar="FILE|URL",
        callback=_note_storage,
        help="Database of studies; also TUNE_STORAGE.  [default: tune.db]",
    )(command)


def debug_option() -> click.Option:
    """Return ``--debug``, which every command takes."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_note_debug,
        help="Show errors whole, with their tracebacks; also TUNE_DEBUG.",
    )


def _note_storage(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    call = ctx.find_object(Call)
    if value is not None and not value.strip():
        raise click.BadParameter("is empty; name a file such as tune.db, or a URL", ctx, _param)
    if call is not None and value is not None:
        call.storage = value
    return value


def _note_debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    call = ctx.find_object(Call)
    if call is not None:
        call.debug |= value


def at_storage(shown: str) -> str:
    """Return what a command to be copied needs to find a database: nothing, or `` --storage FILE``."""
    return "" if shown == str(Path(DEFAULT).absolute()) else f" --storage {quoted(shown)}"


def quoted(path: str) -> str:
    r"""Return a path as a shell takes it, also where its bytes are no text or control a terminal.

    >>> quoted("my.db"), quoted("my studies.db"), quoted("caf\udce9.db")
    ('my.db', "'my studies.db'", "$'caf\\xe9.db'")
    """
    if path.isprintable():
        return shlex.quote(path)
    bytes_of = path.encode("utf-8", "surrogateescape")
    return "$'" + "".join(_in_dollar_quotes(byte) for byte in bytes_of) + "'"


def _in_dollar_quotes(byte: int) -> str:
    letter = chr(byte)
    if letter in "\\'":
        return "\\" + letter
    return letter if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def study_argument(command: Command) -> Command:
    """Add the optional STUDY."""
    return click.argument("study", required=False)(command)


def output_option(what: str, default: Path | None = None) -> Callable[[Command], Command]:
    """Add ``-o``."""
    return click.option(
        "-o", "--output", type=FILE, default=default, show_default=True, metavar="PATH", help=what
    )


def take_over_option(command: Command) -> Command:
    """Add ``--take-over``."""
    return click.option("--take-over", is_flag=True, help="End another live search of the study first.")(
        command
    )
