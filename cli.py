"""The command: parses, calls once, prints. Heavy libraries are imported where a command needs them.

    tune search | resume | confirm | train | plan | list | show | plot | report | export | db

Exit codes: 0 done; 1 an error in one line; 2 wrong usage; 130 interrupted, with the resume command.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from . import __version__, bounds
from .app.default_storage import default_storage
from .command import exit_codes, listing, showing
from .command.confirming import confirm
from .command.console import OUT, emit, emit_json, room, say, say_wrote, show_table
from .command.database import db
from .command.exporting import export
from .command.group import Commands
from .command.options import (
    Call,
    WholeNumber,
    at_storage,
    debug_option,
    json_lines_option,
    json_option,
    machine_options,
    output_option,
    storage_option,
    study_argument,
    study_options,
    take_over_option,
)
from .command.relations import interrupted_lines
from .command.reporting import report
from .command.training import train
from .storage.store import Store

if TYPE_CHECKING:
    from .reports.view import StudyView


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="loratune")
def tune() -> None:
    """Find the best hyperparameters for LoRA fine-tuning: many trials at once on one base model.

    \b
    Try it on the embedded demo, offline, on a CPU:
      tune search --trials 100
    Then on your own model and data:
      tune plan   --model Qwen/Qwen3-0.6B --data train.jsonl
      tune search --model Qwen/Qwen3-0.6B --data train.jsonl --trials 24
      tune report -o report.html
      tune export --format llamafactory -o best.yaml
    """


@tune.command(short_help="Make a study and run its trials.")
@study_options
@machine_options
@storage_option
@take_over_option
@json_lines_option
def search(as_json: bool, config: Path | None, **flags: Any) -> None:
    """Make a study and run its trials, or go on with one that was made of the same choices.

    \b
    Examples:
      tune search --trials 100
      tune search --model Qwen/Qwen3-0.6B --data train.jsonl --trials 24
      tune search --set learning_rate=1e-5..1e-3:log --set lora_rank=8,16 --set batch_size=8
      tune search --model Qwen/Qwen3-8B --data train.jsonl --quantization-bit 4
      tune search --model Qwen/Qwen3-0.6B --data train.jsonl --hours 8
    """
    from .app.request import make_request
    from .app.searching import start
    from .command import signals, watching
    from .search.interrupt import StopSignal

    request, stop = make_request(config, flags), StopSignal()
    with signals.training():
        done = start(
            request.search,
            request.run,
            own=request.own,
            stop=stop,
            preparing=watching.say_preparing,
            watch=watching.watch(stop, as_json=as_json),
        )
        watching.say_ended(done, request.storage, as_json=as_json)


@tune.command(short_help="Go on with a study where it stood.")
@study_argument
@click.option(
    "--trials", type=WholeNumber(bounds.TRIALS), metavar="N", help="Trials in all, not in addition."
)
@machine_options
@storage_option
@take_over_option
@json_lines_option
def resume(study: str | None, trials: int | None, storage: str | None, as_json: bool, **flags: Any) -> None:
    """Go on with STUDY, or the latest, where it stood: to its end, or to --trials in all.

    \b
    Example:
      tune resume --trials 40
    """
    from .app.options import RunOptions
    from .app.searching import resume as go_on
    from .command import signals, watching
    from .search.interrupt import StopSignal
    from .storage import engine

    stop, where = StopSignal(), storage or default_storage()
    given = {name: value for name, value in flags.items() if value is not None}
    with watching.resumable(study, at_storage(engine.parse(where).shown)), signals.training():
        done = go_on(
            study,
            RunOptions(**given),
            trials=trials,
            storage=where,
            stop=stop,
            watch=watching.watch(stop, as_json=as_json),
        )
        watching.say_ended(done, where, as_json=as_json)


tune.add_command(confirm)
tune.add_command(train)


@tune.command(short_help="Say what a search would do; train nothing.")
@study_options
@machine_options
@storage_option
@json_option
def plan(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Say what a search would do: examples, steps, memory, hours. Trains nothing, writes nothing.

    \b
    Example:
      tune plan --model Qwen/Qwen3-0.6B --data train.jsonl
    """
    from .app.request import make_request
    from .app.searching import plan as make_plan
    from .command import signals, watching

    request = make_request(config, flags)
    with signals.interrupted_by_sigterm():
        made = make_plan(request.search, request.run, own=request.own, preparing=watching.say_preparing)
    if as_json:
        emit_json(made.values())
        return
    watching.print_plan(OUT, made)
    watching.print_example(OUT, made)


@tune.command("list", short_help="List the studies.")
@storage_option
@json_option
def list_(storage: str | None, as_json: bool) -> None:
    """List the studies: how far, the best loss, who runs them, the disk they use.

    \b
    Example:
      tune list --json
    """
    with Store.open(storage or default_storage(), mode="read") as store:
        rows, unread = listing.study_rows(store)
        if as_json:
            emit_json(rows)
        elif rows or unread is None:
            show_table(OUT, listing.study_table(rows, room(OUT)))
            for words in interrupted_lines(rows):
                say(OUT, words)
            say(OUT, Text(listing.disk_line(store), style="dim"))
        if unread is not None:
            raise unread


@tune.command(short_help="Show a study, or one of its trials.")
@study_argument
@click.option("--trial", type=WholeNumber(bounds.NUMBER), metavar="N", help="One trial and its curve.")
@storage_option
@json_option
def show(study: str | None, trial: int | None, storage: str | None, as_json: bool) -> None:
    """Show STUDY, or the latest, or one of its trials; also while it runs.

    \b
    Examples:
      tune show
      tune show --trial 7
    """
    from .reports.curve_counts import reading_of
    from .reports.plots.kinds import facts_json
    from .reports.report_facts import study_facts

    view = _view(storage, study)
    if trial is not None:
        record = view.trial(trial)
        reading = reading_of(view, record)
        if as_json:
            read = None if reading is None else facts_json(reading)
            stands = {"state": "waiting"} if trial in view.waiting else {}
            emit_json(
                {**facts_json(record), **stands, "curve": facts_json(view.points(trial)), "reading": read}
            )
        else:
            showing.print_trial(OUT, view, record, reading)
        return
    facts = study_facts(view)
    if as_json:
        emit_json(facts_json(facts))
        return
    showing.print_all(OUT, view, facts)


@tune.command(short_help="Plot importance, history, curves, parallel, pareto or timeline.")
@click.argument("kind")
@study_argument
@output_option("FILE.html (self-contained) or FILE.json; without it, the terminal.")
@storage_option
def plot(kind: str, study: str | None, output: Path | None, storage: str | None) -> None:
    """Plot importance (from 20 measured trials on), history, curves, parallel, pareto or timeline
    of STUDY.

    \b
    Examples:
      tune plot importance
      tune plot curves -o curves.html
    """
    from .reports.plots.kinds import known
    from .reports.plots.save import write_plot
    from .reports.plots.text import plot_text
    from .whole_files import is_there

    known(kind)  # before a database is looked for
    view = _view(storage, study)
    if output is None:
        emit(plot_text(view, kind, OUT.width))
        return
    there = is_there(output)
    write_plot(view, kind, output)
    say_wrote(output, replaced=there)


tune.add_command(report)
tune.add_command(export)


def _view(storage: str | None, study: str | None) -> StudyView:
    from .reports.load import load_view

    with Store.open(storage or default_storage(), mode="read") as store:
        return load_view(store, study)


tune.add_command(db)
tune.params.append(debug_option())


def main(call: Call | None = None) -> None:
    """Run the command and exit with its code."""
    exit_codes.run(tune, call or Call.from_environment())
