"""``tune confirm``: parsed, run once, and told: what it will do, what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import bounds
from ..app.default_storage import default_storage
from ..nouns import plural
from ..study.format import counted, show_seconds
from . import console
from .options import (
    WholeNumber,
    at_storage,
    json_lines_option,
    machine_options,
    storage_option,
    study_argument,
    take_over_option,
)

if TYPE_CHECKING:
    from ..app.confirming import Confirmed, ConfirmPlan
    from ..reports.confirm_facts import Confirmation


@click.command(short_help="Train the best again under several seeds.")
@study_argument
@click.option(
    "--top",
    type=WholeNumber(bounds.TOP),
    metavar="K",
    help="Best trials, beside the default; 5 by default.",
)
@click.option("--seeds", type=WholeNumber(bounds.SEEDS), metavar="S", help="Seeds of each; 5 by default.")
@click.option("--again", is_flag=True, help="Open the test set although it was opened before; it is counted.")
@machine_options
@storage_option
@take_over_option
@json_lines_option
def confirm(
    study: str | None,
    top: int | None,
    seeds: int | None,
    again: bool,
    storage: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train the best trials of STUDY, or the latest, and the default again, under several seeds.

    Then name which of them cannot be told apart, recommend the cheapest of those, and open the locked test
    set, once. Goes on where it stood if it was begun before.

    \b
    Examples:
      tune confirm
      tune confirm --top 3 --seeds 8
    """
    from ..app.confirming import confirm as train_again
    from ..app.options import RunOptions
    from ..search.interrupt import StopSignal
    from . import signals, watching

    stop, where = StopSignal(), storage or default_storage()
    given = {name: value for name, value in flags.items() if value is not None}
    with signals.training():
        done = train_again(
            study,
            RunOptions(**given),
            top=top,
            seeds=seeds,
            again=again,
            storage=where,
            stop=stop,
            planned=say_plan,
            tell=say,
            watch=watching.watch(stop, as_json=as_json),
        )
        if not watching.say_stopped(done.finished):
            say_confirmed(done, as_json=as_json)


def plan_words(plan: ConfirmPlan) -> list[tuple[str, str]]:
    """Return what is about to be done, as (name, words)."""
    numbers = ", ".join(str(number) for number in plan.trials)
    opened = "" if not plan.opened else f", opened {_times(plan.opened)} before"
    closed = "" if plan.opens else "; stays closed without --again"
    return [
        (
            "confirm",
            f"{plural(len(plan.trials), 'trial')} {numbers} of {plan.parent}, as {plan.study}"
            + (" (goes on)" if plan.begun else ""),
        ),
        (
            "training",
            f"{counted(plan.left, 'trial')} to train, {counted(len(plan.trials), 'configuration')} under "
            f"{counted(plan.seeds, 'seed')}, {counted(plan.examples, 'example')} each, about "
            + show_seconds(60 * plan.minutes, about=True)
            if plan.left
            else "all trained already",
        ),
        ("evaluation", f"all {counted(plan.eval_examples, 'validation example')}"),
        ("test set", f"{counted(plan.test_examples, 'example')}{opened}{closed}"),
        *(("warning", words) for words in plan.warnings),
    ]


def say_plan(plan: ConfirmPlan) -> None:
    """Print what is about to be done."""
    console.say_pairs(console.ERR, plan_words(plan))


def say(sentence: str) -> None:
    """Print what is done after the training."""
    console.say(console.ERR, Text(sentence, style="dim"))


def say_confirmed(done: Confirmed, *, as_json: bool) -> None:
    """Print what was found and what to do next."""
    print_confirmation(console.ERR if as_json else console.OUT, done.found)
    name = f"{done.found.parent}{at_storage(done.finished.storage)}"
    for words in (f"next: tune report {name} -o report.html", f"      tune export {name}"):
        console.ERR.print(Text(words, style="dim"), soft_wrap=True)


def print_confirmation(out: Console, found: Confirmation) -> None:
    """Print what a confirmation found: the verdict, the table, how sure that is."""
    from ..reports.confirm_words import headline, sentences, warnings

    console.say(out, Text(headline(found), style="bold green" if found.recommended is not None else "bold"))
    for words in warnings(found):
        console.say(out, Text(words, style="yellow"), indent=2)
    if found.over:
        console.show_table(out, _table(found, console.room(out)))
    for words in sentences(found):
        console.say(out, words, indent=2)


def _table(found: Confirmation, width: int) -> Table:
    from ..reports.confirm_table import INTERVAL, header, row_of

    names = header(found)
    rows = [row_of(found, one) for one in found.configurations]
    return console.table(
        (*names, ""),
        ((*row.cells, row.says) for row in rows),
        width=width,
        right=names,
        lesser={"steps": 6, "loss": 5, "weights": 4, "search": 3, INTERVAL: 2},
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
