"""The command: parses, calls once, prints. Heavy libraries are imported where a command needs them.

    tune search | resume | plan | list | show | plot | report | export | db

Exit codes: 0 done; 1 an error in one line; 2 wrong usage; 130 interrupted, with the resume command.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from . import __version__
from .app.default_storage import default_storage
from .command import exit_codes, showing
from .command.console import ERR, OUT, emit, emit_json, room, say, say_pairs, show_table
from .command.database import db
from .command.group import Commands
from .command.options import (
    Call,
    Real,
    Whole,
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
from .errors import UsageError, WorkerError
from .spaces import bounds
from .storage.store import Store

if TYPE_CHECKING:
    from .app.exporting import ExportFormat
    from .app.preparing import Prepared
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
      tune export --format llamafactory -o train.yaml
    """


@tune.command(short_help="Make a study and run its trials.")
@study_options
@machine_options
@storage_option
@take_over_option
@json_lines_option
def search(
    take_over: bool | None, deterministic: bool | None, as_json: bool, config: Path | None, **flags: Any
) -> None:
    """Make a study and run its trials, or go on with one that was made of the same choices.

    \b
    Examples:
      tune search --trials 100
      tune search --model Qwen/Qwen3-0.6B --data train.jsonl --trials 24
      tune search --set learning_rate=1e-5..1e-3:log --set lora_rank=8,16 --set batch_size=8
    """
    from .app import looking, preparing, settling
    from .app.request import make_request
    from .command import process, watching
    from .storage import engine, study_files

    request = make_request(config, flags)
    looking.look_first(request, take_over=bool(take_over))
    address = engine.parse(request.storage)
    with (
        process.interrupted_by_sigterm(),
        process.private_files(),
        # Nothing is made here before the study is; what ends a worker names its log.
        settling.scratch(keep_for=(WorkerError,)) as folder,
    ):
        prepared = preparing.prepare(
            request,
            logs=folder / study_files.LOGS,
            cache=settling.borrow_cache(address.artifacts, folder),
            starting=_say_preparing,
            deterministic=bool(deterministic),
        )
        try:
            workers = preparing.planned_workers(request, prepared)
            with Store.open(request.storage, mode="create") as store:
                study = preparing.make_study(store, request, prepared)
                with watching.resumable(study.name, at_storage(store.url)):
                    if not take_over:
                        store.check_free(study.name)  # another search may have been quicker
                    settling.settle(prepared.worker, folder, store.artifacts)
                    _print_plan(ERR, prepared, study.trials, workers)
                    watching.run(
                        store,
                        study,
                        prepared=prepared,
                        workers=request.run.workers_wanted,
                        slots=request.run.slots_wanted,
                        timeout=request.run.timeout,
                        take_over=bool(take_over),
                        deterministic=bool(deterministic),
                        as_json=as_json,
                    )
        finally:
            prepared.worker.close()


@tune.command(short_help="Go on with a study where it stood.")
@study_argument
@click.option("--trials", type=Whole(bounds.TRIALS), metavar="N", help="Trials in all, not in addition.")
@machine_options
@storage_option
@take_over_option
@json_lines_option
def resume(
    study: str | None,
    trials: int | None,
    slots: int | str | None,
    workers: int | str | None,
    timeout: float | None,
    storage: str | None,
    take_over: bool | None,
    deterministic: bool | None,
    as_json: bool,
) -> None:
    """Go on with STUDY, or the latest, where it stood: to its end, or to --trials in all.

    \b
    Example:
      tune resume --trials 40
    """
    from .command import process, watching
    from .storage import engine

    where = storage or default_storage()
    with (
        watching.resumable(study, at_storage(engine.parse(where).shown)),
        process.interrupted_by_sigterm(),
        process.private_files(),
        Store.open(where, mode="write") as store,
    ):
        record = store.study(study)
        if trials is not None:
            there = len(store.trials(record.id))
            if trials < there:
                raise UsageError(
                    f"--trials {trials}: study {record.name} has {there} already, and --trials is the total"
                )
            record = dataclasses.replace(record, trials=trials)
        watching.run(
            store,
            record,
            workers=workers if isinstance(workers, int) else None,
            slots=slots if isinstance(slots, int) else None,
            timeout=timeout,
            take_over=bool(take_over),
            deterministic=bool(deterministic),
            as_json=as_json,
        )


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
    from .app import preparing, settling
    from .app.planning import plan as make_plan
    from .app.request import make_request
    from .command import process

    request = make_request(config, flags)
    # What ends a worker names its log.
    with process.interrupted_by_sigterm(), settling.scratch(keep_for=(WorkerError,)) as folder:
        prepared = preparing.prepare(
            request,
            logs=folder,
            cache=None,
            starting=_say_preparing,
            deterministic=bool(flags.get("deterministic")),
        )
        prepared.worker.close()
    workers = preparing.planned_workers(request, prepared)
    if as_json:
        emit_json(make_plan(prepared.config, prepared.facts, trials=request.search.trials, workers=workers))
        return
    _print_plan(OUT, prepared, request.search.trials, workers)
    OUT.print()
    say(OUT, Text("one training example; the loss is taken between ⟦ and ⟧:", style="bold"))
    OUT.print(Text(prepared.facts.data.rendered), soft_wrap=True)
    if prepared.facts.data.rendered_cut:
        say(OUT, Text(f"cut to length: {prepared.facts.data.rendered_cut}", style="dim"))


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
        rows = [showing.study_row(store, study) for study in store.studies()]
        if as_json:
            emit_json(rows)
            return
        show_table(OUT, showing.study_table(rows, room(OUT)))
        say(OUT, Text(showing.disk_line(store), style="dim"))


@tune.command(short_help="Show a study, or one of its trials.")
@study_argument
@click.option("--trial", type=Whole(bounds.NUMBER), metavar="N", help="One trial and its curve.")
@storage_option
@json_option
def show(study: str | None, trial: int | None, storage: str | None, as_json: bool) -> None:
    """Show STUDY, or the latest, or one of its trials; also while it runs.

    \b
    Examples:
      tune show
      tune show --trial 7
    """
    from .reports.format import have_ended
    from .reports.plots.kinds import facts_json
    from .reports.report_facts import study_facts

    view = _view(storage, study)
    if trial is not None:
        record = view.trial(trial)
        if as_json:
            emit_json({**facts_json(record), "curve": facts_json(view.points(trial))})
        else:
            showing.print_trial(OUT, view, record)
        return
    facts = study_facts(view)
    if as_json:
        emit_json(facts_json(facts))
        return
    how = "running" if view.live else "interrupted" if facts.verdict.running else "over"
    ended = f"  {how}, {have_ended(facts.verdict.trials, facts.verdict.wanted)}"
    say(OUT, Text.assemble((view.study.name, "bold"), ended))
    showing.print_verdict(OUT, facts.verdict)
    OUT.print()
    showing.print_study(OUT, facts)
    OUT.print()
    showing.print_trials(OUT, view)


@tune.command(short_help="Plot importance, history, curves, parallel or timeline.")
@click.argument("kind")
@study_argument
@output_option("FILE.html (self-contained) or FILE.json; without it, the terminal.")
@storage_option
def plot(kind: str, study: str | None, output: Path | None, storage: str | None) -> None:
    """Plot importance (from 20 complete trials on), history, curves, parallel or timeline of STUDY.

    \b
    Examples:
      tune plot importance
      tune plot curves -o curves.html
    """
    from .reports.plots.kinds import known
    from .reports.plots.save import write_plot
    from .reports.plots.text import plot_text
    from .reports.whole_files import is_there

    known(kind)  # before a database is looked for
    view = _view(storage, study)
    if output is None:
        emit(plot_text(view, kind, OUT.width))
        return
    there = is_there(output)
    write_plot(view, kind, output)
    _wrote(output, replaced=there)


@tune.command(short_help="Write the report: one page, the verdict first.")
@study_argument
@output_option("The page.", Path("report.html"))
@storage_option
def report(study: str | None, output: Path, storage: str | None) -> None:
    """Write the report of STUDY, or the latest: one page, the verdict first, that opens offline.

    \b
    Example:
      tune report -o report.html
    """
    from .reports.page import write_report
    from .reports.whole_files import is_there
    from .storage import engine

    view = _view(storage, study)
    there = is_there(output)
    write_report(view, output, at=at_storage(engine.parse(storage or default_storage()).shown))
    _wrote(output, replaced=there)


@tune.command(short_help="Export the best configuration for your trainer.")
@study_argument
@click.option("--trial", type=Whole(bounds.NUMBER), metavar="N", help="A trial; the best by default.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["yaml", "json", "peft", "llamafactory"]),
    default="yaml",
    show_default=True,
    help="What to write.",
)
@output_option("A file, or a folder for peft; yaml and json go to the terminal without it.")
@click.option(
    "--epochs",
    type=Real(bounds.EPOCHS),
    default=3.0,
    show_default=True,
    help="Length of the full run that is written.",
)
@click.option("--force", is_flag=True, help="Write over a file, or into a folder that holds other things.")
@click.option("--anyway", is_flag=True, help="Write the best even if the base model is as good or better.")
@storage_option
def export(
    study: str | None,
    trial: int | None,
    kind: ExportFormat,
    output: Path | None,
    epochs: float,
    force: bool,
    anyway: bool,
    storage: str | None,
) -> None:
    """Export the best configuration of STUDY, or --trial N, for the trainer that you use.

    \b
    Examples:
      tune export
      tune export --format peft -o best/
      tune export --format llamafactory -o train.yaml
    """
    from .app import exporting
    from .command import process

    done = exporting.export(
        study,
        trial=trial,
        format=kind,
        output=output,
        epochs=epochs,
        force=force,
        anyway=anyway,
        storage=storage,
        tell=showing.tell_of_export,
        training=process.training,
    )
    if done.text is not None:
        emit(done.text)
    for one in done.written:
        _wrote(one.path, replaced=one.replaced)
    for sentence in done.notes:
        say(ERR, Text(sentence, style="dim"), indent=2)


def _say_preparing() -> None:
    # To whoever waits; a program that reads an error finds one line.
    if ERR.is_terminal:
        ERR.print("preparing model and data …", style="dim")


def _print_plan(console: Console, prepared: Prepared, trials: int, workers: int) -> None:
    from .app.planning import plan as make_plan
    from .command.planning import plan_lines

    say_pairs(console, plan_lines(make_plan(prepared.config, prepared.facts, trials=trials, workers=workers)))


def _view(storage: str | None, study: str | None) -> StudyView:
    from .reports.load import load_view

    with Store.open(storage or default_storage(), mode="read") as store:
        return load_view(store, study)


def _wrote(path: Path, *, replaced: bool) -> None:
    ERR.print(Text(f"{'replaced' if replaced else 'wrote'} {path}"), soft_wrap=True)


tune.add_command(db)
tune.params.append(debug_option())


def main(call: Call | None = None) -> None:
    """Run the command and exit with its code."""
    exit_codes.run(tune, call or Call.from_environment())
