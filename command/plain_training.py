"""``tune train --method full|freeze`` before the user's eyes: its rounds, its end, and the table."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from ..study.format import show_loss, show_seconds
from . import console
from .console import emit_json
from .options import at_storage

if TYPE_CHECKING:
    from rich.console import Console

    from ..app.plain_training import PlainRound
    from ..reports.yardsticks import Yardsticks

OWN = ("freeze_layers", "learning_rate")
"""What is given to these methods alone."""

SHARED = ("study", "method", "storage", "take_over", "as_json")
"""What is given to each method."""


def check_flags(context: click.Context, method: str) -> None:
    """Raise a usage error for a flag that says nothing of the method."""
    given = {
        name
        for name in context.params
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if method == "lora":
        wrong = given & set(OWN)
        cure = "goes with --method full or freeze; the trial has its own"
    else:
        wrong = given - {*OWN, *SHARED}
        cure = f"does not go with --method {method}, which trains as the study of full length that it is told"
    if wrong:
        raise click.UsageError(f"--{min(wrong).replace('_', '-')} {cure}")


def run(study: str | None, flags: Mapping[str, Any], *, storage: str, as_json: bool) -> None:
    """Train, and show the table."""
    from ..app.plain_training import train_plainly
    from ..reports.load import load_view
    from ..reports.yardsticks import yardsticks
    from ..storage.store import Store

    given = {name: flags[name] for name in ("method", "take_over", *OWN) if flags.get(name) is not None}
    with _resumable():
        done = train_plainly(study, **given, storage=storage, tell=_say_round)
    with Store.open(storage, mode="read") as store:
        found = yardsticks(load_view(store, done.study))
    assert found is not None, "it has just been recorded"
    if as_json:
        from ..reports.plots.kinds import facts_json

        emit_json(facts_json(found))
        return
    if done.known:
        console.say(console.ERR, Text(f"{done.result.method.words}: trained before", style="dim"))
    print_yardsticks(console.OUT, found)
    at = at_storage(done.storage)
    console.ERR.print(Text(f"next: tune report {done.study}{at} -o report.html", style="dim"), soft_wrap=True)


def print_yardsticks(out: Console, found: Yardsticks) -> None:
    """Print the table of methods and how it is to be read."""
    from ..reports.yardsticks import HEADER, cells

    table = console.table(
        HEADER,
        [cells(row) for row in found.rows],
        width=console.room(out),
        right=HEADER[1:],
        lesser={"learning rate": 4, "time": 2, "peak memory": 1},
    )
    console.show_table(out, table)
    console.say(out, found.sentence)


def _say_round(done: PlainRound) -> None:
    words = (
        f"{done.method.words}: round {done.round} of 8, train {show_loss(done.train_loss)}, "
        f"eval {show_loss(done.eval_loss)}, {show_seconds(done.seconds)}"
    )
    console.say(console.ERR, words)


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.ERR.print(
            Text("tune: interrupted; the same command goes on from its last round"), soft_wrap=True
        )
        raise SystemExit(130) from None
