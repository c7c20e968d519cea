"""The flags of the command: those of a search are made of app/options.py, the few others are written here."""

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

from .. import bounds
from ..app.options import Described, RunOptions, SearchOptions, described
from ..bounds import Bounds
from ..errors import shown
from ..integrations.registry import EXPORTERS
from ..storage.store import DEFAULT
from ..study.settings import Registry

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


class WholeNumber(click.IntRange):
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


class Named(click.Choice[Any]):
    """One of several kinds by name, which may have settings behind a colon."""

    def __init__(self, registry: Registry[Any]) -> None:
        super().__init__(registry.names)
        self._registry = registry

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the settings of the kind."""
        try:
            return self._registry.parse(value)
        except ValueError as error:
            return self.fail(f"{shown(value)} {error}", param, ctx)


class _File(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A path; whether something lies there is for whoever opens it to say."""

    name = "PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        if isinstance(value, str) and not value.strip():
            self.fail("is empty; name a file", param, ctx)
        return Path(value)


FILE = _File()


def study_options(command: Command) -> Command:
    """Add everything that makes a study."""
    options = [_flag(one) for one in described(SearchOptions) if one.name != "storage"]
    config = click.option(
        "--config", type=FILE, metavar="FILE", help="YAML of these options; flags go over it."
    )
    return _with(command, config, *options)


def machine_options(command: Command) -> Command:
    """Add what belongs to the machine and this run, not to the study."""
    return _with(command, *(_flag(one) for one in described(RunOptions) if one.name != "take_over"))


def export_options(command: Command) -> Command:
    """Add what is exported, how and to where."""
    formats = click.Choice(list(EXPORTERS))
    return _with(
        command,
        click.option(
            "--trial", type=WholeNumber(bounds.NUMBER), metavar="N", help="A trial; the best by default."
        ),
        click.option("--format", type=formats, default="yaml", show_default=True, help="What to write."),
        output_option("A file, or a folder for peft; yaml and json go to the terminal without it."),
        click.option(
            "--epochs",
            type=Real(bounds.EPOCHS),
            metavar="E",
            help="Length of the run that is written; 3 by default, its own of a trial trained to the end.",
        ),
        click.option(
            "--force", is_flag=True, help="Write over a file, or into a folder that holds other things."
        ),
        click.option(
            "--anyway", is_flag=True, help="Write the best even if the base model is as good or better."
        ),
    )


def _with(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Add options in the order in which help shows them."""
    for option in reversed(options):
        command = option(command)
    return command


def _flag(one: Described) -> Callable[[Command], Command]:
    """Return the flag of an option; without it the command hears None, so that a config file may speak."""
    given: dict[str, Any] = {"help": one.help}
    if one.kind == "either":
        return click.option(f"{one.flag}/--no-{one.flag.removeprefix('--')}", default=None, **given)
    if one.kind == "switch":
        return click.option(one.flag, is_flag=True, default=None, **given)
    ends = one.option.bounds
    kind: Any = str
    if one.option.registry is not None:
        kind = Named(one.option.registry)
    elif one.kind == "choice":
        kind = click.Choice(one.choices)
    elif ends is not None:
        kind = {"whole": WholeNumber, "real": Real, "count": CountOrAuto}[one.kind](ends)
    return click.option(
        one.flag, type=kind, metavar=one.option.metavar or None, multiple=one.kind == "several", **given
    )


def _option(name: str) -> Described:
    (found,) = (one for model in (SearchOptions, RunOptions) for one in described(model) if one.name == name)
    return found


def storage_option(command: Command) -> Command:
    """Add ``--storage``; the environment is no part of it, since a config file goes over that."""
    one = _option("storage")
    return click.option(one.flag, metavar=one.option.metavar, callback=_note_storage, help=one.help)(command)


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


def json_lines_option(command: Command) -> Command:
    """Add ``--json`` to a command that runs a study."""
    return click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")(command)


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
    return _flag(_option("take_over"))(command)
