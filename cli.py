"""The command: parses, calls once, prints. Heavy libraries are imported where a command needs them.

    tune search | resume | plan | list | show | plot | report | export

Exit codes: 0 done; 1 an error in one line; 2 wrong usage; 130 interrupted, with the resume command.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from . import __version__, console
from .spaces.errors import LoratuneError, ReportError, UsageError, nearest
from .storage.store import Store

if TYPE_CHECKING:
    from .reports.view import StudyView
    from .search.loop import Outcome
    from .storage.records import StudyRecord

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)

AUTO_OR_COUNT = "auto or a whole number of at least 1"


class CountOrAuto(click.ParamType):
    """``auto``, or how many."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int | str:
        """Return the number, or ``auto``."""
        if value == "auto":
            return "auto"
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is not {AUTO_OR_COUNT}", param, context)
        return number


class Group(click.Group):
    """Commands in the order in which they are used, with the nearest name for one that is not there."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands as they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command, or say which one is near."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


def storage_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--storage``."""
    return click.option(
        "--storage",
        envvar="TUNE_STORAGE",
        metavar="FILE|URL",
        help="The database of studies; also TUNE_STORAGE.  [default: tune.db]",
    )(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def study_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the optional STUDY."""
    return click.argument("study", required=False)(command)


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what belongs to the machine, not to the study."""
    for option in reversed(
        [
            click.option(
                "--slots",
                type=CountOrAuto(),
                help="Trials that train at once in one worker.  [default: auto]",
            ),
            click.option(
                "--workers",
                type=CountOrAuto(),
                help="Worker processes: one per GPU or CPU core.  [default: auto]",
            ),
            click.option(
                "--timeout",
                type=click.FloatRange(min=0, min_open=True),
                metavar="SECONDS",
                help="End after so long, ready to resume.",
            ),
        ]
    ):
        command = option(command)
    return command


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add everything that makes a study."""
    for option in reversed(
        [
            click.option(
                "--config",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="YAML of these options; flags go over it.",
            ),
            click.option(
                "--model",
                metavar="ID|PATH",
                help="Base model: a Hub id or a folder.  [default: the embedded demo]",
            ),
            click.option("--revision", metavar="REV", help="Branch, tag or commit of a Hub model."),
            click.option(
                "--data",
                metavar="PATH",
                help="Records: JSON, JSONL, CSV or Parquet.  [default: the embedded demo]",
            ),
            click.option("--validation", metavar="PATH", help="Validation records; else 15 % of --data."),
            click.option("--test", metavar="PATH", help="Test records; else 15 % of --data."),
            click.option(
                "--format",
                type=click.Choice(["auto", "alpaca", "sharegpt", "messages", "prompt_completion", "text"]),
                help="Layout of the records.  [default: auto]",
            ),
            click.option("--template", metavar="NAME", help="Chat template; the model's own by default."),
            click.option("--encoding", metavar="NAME", help="Encoding of text files.  [default: utf-8]"),
            click.option(
                "--cutoff-len",
                type=click.IntRange(min=2),
                metavar="TOKENS",
                help="Longest example; longer ones are cut.  [default: 1024]",
            ),
            click.option(
                "--trials",
                type=click.IntRange(min=1),
                metavar="N",
                help="Trials of the study in all.  [default: 100]",
            ),
            click.option(
                "--study", metavar="NAME", help="Name of the study; made of model and data by default."
            ),
            click.option(
                "--space",
                metavar="PRESET|FILE",
                help="default, tiny, quickllm or a YAML file; chosen by the model's size.",
            ),
            click.option(
                "--set",
                "set",
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
                "--examples", type=click.IntRange(min=1), metavar="N", help="Training examples of a trial."
            ),
            click.option(
                "--eval-examples",
                type=click.IntRange(min=1),
                metavar="N",
                help="Validation examples of the final evaluation.",
            ),
            click.option(
                "--max-grad-norm",
                type=click.FloatRange(min=0, min_open=True),
                metavar="X",
                help="Clip gradients to this norm.  [default: 1.0]",
            ),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
                help="Numbers of the base model.  [default: auto]",
            ),
            click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N.  [default: auto]"),
            click.option(
                "--attn-implementation",
                type=click.Choice(["sdpa", "eager"]),
                help="Attention of Transformers.  [default: sdpa]",
            ),
            click.option(
                "--gradient-checkpointing/--no-gradient-checkpointing",
                default=None,
                help="Recompute activations; decided by memory by default.",
            ),
            click.option(
                "--trust-remote-code",
                is_flag=True,
                default=None,
                help="Run Python code that comes with the model.",
            ),
            click.option(
                "--sampler", type=click.Choice(["tpe", "random"]), help="Who proposes trials.  [default: tpe]"
            ),
            click.option(
                "--pruner",
                type=click.Choice(["asha", "none"]),
                help="Who stops bad ones early.  [default: asha]",
            ),
            click.option(
                "--seed",
                type=click.IntRange(min=0, max=2**31 - 1),
                metavar="N",
                help="Seed of everything.  [default: 0]",
            ),
            click.option(
                "--keep-adapters",
                type=click.IntRange(min=1),
                metavar="N",
                help="Best adapters kept on disk.  [default: 5]",
            ),
        ]
    ):
        command = option(command)
    return command


@tune.command()
@study_options
@machine_options
@storage_option
@click.option("--take-over", is_flag=True, help="End another live search of this study first.")
def search(take_over: bool, config: Path | None, **flags: Any) -> None:
    """Search: make a study and run its trials, or go on with one made of the same choices.

    \b
    Example:
      tune search --model Qwen/Qwen3-0.6B --data train.jsonl --trials 24
    """
    from . import running
    from .request import make_request

    request = make_request(config, flags)
    _check_name(request.study)
    if _exists(request.storage):
        # A database that cannot be written is found before the model is loaded.
        with Store.open(request.storage, mode="write"):
            pass
    from .storage.engine import parse

    artifacts = parse(request.storage).artifacts
    with running.interrupted_by_sigterm():
        err.print("preparing: model and data …", style="dim")
        prepared = running.prepare(request, logs=artifacts / running.LOGS, cache=artifacts / running.CACHE)
        try:
            with Store.open(request.storage, mode="create") as store:
                study = running.make_study(store, request, prepared)
                workers = running.count_workers(request.workers, prepared.facts, study.trials)
                _print_plan(prepared, study.trials, workers, brief=True)
                _run(
                    store,
                    study,
                    prepared=prepared,
                    workers=request.workers,
                    slots=request.slots,
                    timeout=request.get("timeout"),
                    take_over=take_over,
                )
        finally:
            prepared.worker.close()


@tune.command()
@study_argument
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help="Trials of the study in all, not in addition."
)
@machine_options
@storage_option
@click.option("--take-over", is_flag=True, help="End another live search of this study first.")
def resume(
    study: str | None,
    trials: int | None,
    slots: Any,
    workers: Any,
    timeout: float | None,
    storage: str | None,
    take_over: bool,
) -> None:
    """Go on with a study (the latest, or STUDY) where it stood, to its end or to --trials.

    \b
    Example:
      tune resume --trials 40
    """
    from . import running

    with running.interrupted_by_sigterm(), Store.open(_storage(storage), mode="write") as store:
        record = store.study(study)
        if trials is not None:
            there = len(store.trials(record.id))
            if trials < there:
                raise UsageError(
                    f"--trials {trials}: study {record.name} has {there} trials already; --trials is the total"
                )
            store.set_trials(record.id, trials)
            record = store.study(record.name)
        _run(
            store,
            record,
            workers=None if workers in (None, "auto") else workers,
            slots=None if slots in (None, "auto") else slots,
            timeout=timeout,
            take_over=take_over,
        )


@tune.command()
@study_options
@machine_options
@json_option
def plan(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Say what a search would do: examples, steps, memory, hours; train nothing, write nothing.

    \b
    Example:
      tune plan --model Qwen/Qwen3-0.6B --data train.jsonl
    """
    from . import running
    from .request import make_request

    request = make_request(config, flags)
    with running.interrupted_by_sigterm(), running.scratch() as folder:
        if not as_json:
            err.print("preparing: model and data …", style="dim")
        prepared = running.prepare(request, logs=folder, cache=None)
        prepared.worker.close()
    workers = running.count_workers(request.workers, prepared.facts, request.trials)
    _print_plan(prepared, request.trials, workers, as_json=as_json)


@tune.command("list")
@storage_option
@json_option
def list_(storage: str | None, as_json: bool) -> None:
    """List the studies, their state, their best loss and the disk they use.

    \b
    Example:
      tune list --json
    """
    with Store.open(_storage(storage), mode="read") as store:
        rows = [_study_row(store, study) for study in store.studies()]
    if as_json:
        _print_json(rows)
        return
    out.print(
        console.table(
            ("study", "trials", "how", "best", "trial", "owner", "disk", "created"),
            (
                (
                    row["study"],
                    f"{row['ended']}/{row['trials']}",
                    ", ".join(f"{count} {state}" for state, count in row["states"].items()),
                    "–" if row["best"] is None else f"{row['best']:.4f}",
                    "–" if row["best_trial"] is None else row["best_trial"],
                    row["owner"] or "–",
                    _bytes(row["disk_bytes"]),
                    row["created"][:16].replace("T", " "),
                )
                for row in rows
            ),
            right=(1, 3, 4, 6),
        )
    )


@tune.command()
@study_argument
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="One trial and its curve.")
@storage_option
@json_option
def show(study: str | None, trial: int | None, storage: str | None, as_json: bool) -> None:
    """Show a study (the latest, or STUDY), or one of its trials; also while it runs.

    \b
    Examples:
      tune show
      tune show --trial 7
    """
    from .reports.facts import study_facts
    from .reports.kinds import facts_json

    view = _view(storage, study)
    if trial is not None:
        _show_trial(view, trial, as_json)
        return
    facts = study_facts(view)
    if as_json:
        _print_json(facts_json(facts))
        return
    verdict = facts.verdict
    out.print(
        Text.assemble((view.study.name, "bold"), f"  {verdict.trials}/{verdict.wanted} trials have ended")
    )
    out.print(
        Text(verdict.headline, style="bold green" if verdict.number is not None else ""), soft_wrap=True
    )
    if verdict.params is not None:
        out.print(Text("  " + console.show_params(verdict.params)), soft_wrap=True)
    for sentence in verdict.sentences:
        out.print(Text("  " + sentence), soft_wrap=True)
    out.print()
    ranked = sorted(view.trials, key=lambda it: (it.value is None, it.value or 0.0, it.number))
    out.print(_trial_table(view, ranked[:10]))
    if len(ranked) > 10:
        out.print(Text(f"… and {len(ranked) - 10} more: tune report -o report.html shows all", style="dim"))


@tune.command()
@click.argument("kind", metavar="KIND")
@study_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="FILE.html (self-contained) or FILE.json.",
)
@storage_option
def plot(kind: str, study: str | None, output: Path | None, storage: str | None) -> None:
    """Plot importance, history, curves, parallel or timeline: in the terminal, or to a file.

    \b
    Examples:
      tune plot importance
      tune plot curves -o curves.html
    """
    from .reports.plots import write_plot
    from .reports.text import plot_text

    view = _view(storage, study)
    if output is None:
        click.echo(plot_text(view, kind, out.width))
        return
    write_plot(view, kind, output)
    _wrote(output)


@tune.command()
@study_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="The page.",
)
@storage_option
def report(study: str | None, output: Path, storage: str | None) -> None:
    """Write the report of a study: one page, the verdict first, that opens offline.

    \b
    Example:
      tune report -o report.html
    """
    from .reports.page import write_report

    view = _view(storage, study)
    write_report(view, output)
    _wrote(output)


@tune.command()
@study_argument
@click.option("--trial", type=click.IntRange(min=0), metavar="N", help="A trial; the best by default.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["yaml", "json", "peft", "llamafactory"]),
    default="yaml",
    show_default=True,
    help="What to write.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="PATH", help="A file, or a folder for peft."
)
@click.option(
    "--epochs",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Length of the full run that is written.",
)
@click.option("--force", is_flag=True, help="Write into a folder that holds other things.")
@storage_option
def export(
    study: str | None,
    trial: int | None,
    format_: str,
    output: Path | None,
    epochs: float,
    force: bool,
    storage: str | None,
) -> None:
    """Export the best configuration, or --trial N, for the trainer that you use.

    \b
    Examples:
      tune export
      tune export --format peft -o best/
      tune export --format llamafactory -o train.yaml
    """
    from .reports.export_llamafactory import export_llamafactory
    from .reports.export_yaml import export_json, export_yaml
    from .reports.files import write_text

    view = _view(storage, study)
    if format_ in ("yaml", "json"):
        text = (export_yaml if format_ == "yaml" else export_json)(view, trial, epochs=epochs)
        if output is None:
            click.echo(text, nl=not text.endswith("\n"))
            return
        write_text(output, text)
        _wrote(output)
        return
    if output is None:
        example = "best/" if format_ == "peft" else "train.yaml"
        raise UsageError(f"--format {format_} writes files; say where with -o, such as -o {example}")
    if format_ == "peft":
        _export_peft(view, trial, output, force, storage)
        return
    for path in export_llamafactory(view, trial, output, epochs=epochs):
        _wrote(path)


def _export_peft(view: StudyView, trial: int | None, output: Path, force: bool, storage: str | None) -> None:
    from . import running
    from .reports.export_peft import export_peft
    from .reports.full_run import full_run, provenance

    record = view.trial(trial)
    with Store.open(_storage(storage), mode="read") as store, running.scratch() as folder:
        if record.adapter is not None:
            adapter = store.study_dir(view.study.id) / record.adapter
        elif record.state in ("complete", "pruned"):
            err.print(
                f"the adapter of trial {record.number} was not kept; training it again, to its full budget …"
            )
            with running.interrupted_by_sigterm():
                adapter = running.train_again(store, view.study, record, folder)
        else:
            raise ReportError(f"trial {record.number} is {record.state}: it has no adapter to export")
        export_peft(view, record.number, adapter, output, force=force)
    _wrote(output)
    for sentence in provenance(view, record, full_run(view, record.params, view.examples_seen(record))):
        err.print(f"  {sentence}", style="dim")


def _run(
    store: Store,
    study: StudyRecord,
    *,
    prepared: Any = None,
    workers: int | None,
    slots: int | None,
    timeout: float | None,
    take_over: bool,
) -> None:
    """Run a study before the user's eyes and say how it ended."""
    from . import running

    log = console.Log(store.artifacts / running.LOGS / "search.log")
    log.write(f"study {study.name}: {study.trials} trials")

    def told(times: int) -> None:
        word = "ending at the next boundary; once more ends now" if times == 1 else "ending now"
        log.write(word)

    live = err.is_terminal and not os.environ.get("TUNE_PLAIN")
    view = console.LiveView(err, log) if live else console.PlainView(err, log)
    try:
        with running.stop_on_signals(told) as stop, view:
            outcome = running.run_study(
                store,
                study,
                prepared=prepared,
                workers=workers,
                slots=slots,
                observer=view,
                stop=stop,
                timeout=timeout,
                take_over=take_over,
            )
        log.write(f"{outcome.why} after {outcome.seconds:.1f} s")
    finally:
        log.close()
    _say_outcome(store, study, outcome)


def _say_outcome(store: Store, study: StudyRecord, outcome: Outcome) -> None:
    """Say how a search ended and what to do next; exit 130 where it was interrupted."""
    at = "" if store.url == str(Path("tune.db").absolute()) else f" --storage {shlex.quote(store.url)}"
    name = study.name
    ended = sum(count for state, count in outcome.counts.items() if state != "running")
    if outcome.why in ("interrupted", "timeout"):
        why = "interrupted" if outcome.why == "interrupted" else "the time is up"
        err.print(Text(f"{why}: {ended} of {study.trials} trials have ended, nothing is lost"))
        err.print(Text(f"go on with: tune resume {name}{at}"))
        if outcome.why == "interrupted":
            sys.exit(130)
        return
    from .reports.load import load_view
    from .reports.verdict import verdict

    words = ", ".join(f"{count} {state}" for state, count in outcome.counts.items() if count)
    err.print(Text(f"done: {words}, in {console.clock(outcome.seconds)}"))
    found = verdict(load_view(store, name))
    out.print(Text(found.headline, style="bold green" if found.number is not None else ""), soft_wrap=True)
    if found.params is not None:
        out.print(Text("  " + console.show_params(found.params)), soft_wrap=True)
    for sentence in found.sentences:
        out.print(Text("  " + sentence), soft_wrap=True)
    err.print(Text(f"next: tune report {name}{at} -o report.html", style="dim"))
    err.print(Text(f"      tune export {name}{at} --format llamafactory -o train.yaml", style="dim"))


def _print_plan(
    prepared: Any, trials: int, workers: int, *, as_json: bool = False, brief: bool = False
) -> None:
    from .planning import plan as make_plan
    from .planning import plan_lines

    values = make_plan(prepared.config, prepared.facts, trials=trials, workers=workers)
    if as_json:
        _print_json(values)
        return
    printer = err if brief else out
    lines = plan_lines(values)
    width = max(len(name) for name, _ in lines)
    for name, words in lines:
        printer.print(Text.assemble((f"{name:<{width}}  ", "bold"), words), soft_wrap=True)
    if not brief:
        printer.print()
        printer.print(Text("one training example; the loss is taken between ⟦ and ⟧:", style="bold"))
        printer.print(Text(values["data"]["rendered"]), soft_wrap=True)


def _study_row(store: Store, study: StudyRecord) -> dict[str, Any]:
    trials = store.trials(study.id)
    states: dict[str, int] = {}
    for trial in trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    complete = [trial for trial in trials if trial.value is not None]
    best = min(complete, key=lambda trial: (trial.value, trial.number), default=None)
    lease = store.lease(study.id)
    return {
        "study": study.name,
        "trials": study.trials,
        "ended": sum(count for state, count in states.items() if state != "running"),
        "states": states,
        "best": None if best is None else best.value,
        "best_trial": None if best is None else best.number,
        "owner": f"pid {lease.pid} on {lease.host}" if lease is not None and lease.alive else None,
        "disk_bytes": store.disk_bytes(study.id),
        "created": study.created_at.isoformat(),
    }


def _show_trial(view: StudyView, number: int, as_json: bool) -> None:
    from .reports.kinds import facts_json

    trial = view.trial(number)
    points = view.points(number)
    if as_json:
        _print_json({**facts_json(trial), "curve": facts_json(points)})
        return
    out.print(
        Text.assemble(
            (f"trial {number}", "bold"), "  ", console.state_text(trial.state), f"  ({trial.source})"
        )
    )
    if trial.reason:
        out.print(Text(f"  {trial.reason}"), soft_wrap=True)
    if trial.value is not None:
        out.print(Text(f"  eval loss {trial.value:.4f}; base model {view.base_loss:.4f}"))
    for name, value in trial.params.to_dict().items():
        out.print(Text(f"  {name:<18} {console.number(value)}"))

    def loss(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    out.print()
    out.print(
        console.table(
            ("quantum", "examples", "train", "eval", "learning rate", "grad norm", "tokens/s"),
            (
                (
                    point.quantum,
                    point.examples,
                    loss(point.train_loss),
                    loss(point.eval_loss),
                    f"{point.learning_rate:.2e}",
                    loss(point.grad_norm),
                    f"{point.tokens_per_second:,.0f}",
                )
                for point in points
            ),
            right=range(7),
        )
    )


def _trial_table(view: StudyView, trials: Any) -> Any:
    from .reports.words import show_value, value_of

    varied = [one.name for one in view.space.dimensions if not one.fixed]
    return console.table(
        ("trial", "state", "eval loss", "quanta", *varied),
        (
            (
                trial.number,
                console.state_text(trial.state),
                "–"
                if (trial.value or view.last_eval(trial.number)) is None
                else f"{trial.value or view.last_eval(trial.number):.4f}",
                trial.quanta,
                *(show_value(value_of(trial.params, name)) for name in varied),
            )
            for trial in trials
        ),
        right=(0, 2, 3, *range(4, 4 + len(varied))),
    )


def _view(storage: str | None, study: str | None) -> StudyView:
    from .reports.load import load_view

    with Store.open(_storage(storage), mode="read") as store:
        return load_view(store, study)


def _storage(storage: str | None) -> str:
    from .request import STORAGE

    return storage or STORAGE


def _exists(storage: str) -> bool:
    from .storage.engine import parse

    path = parse(storage).path
    return path is None or path.exists()


def _check_name(name: str | None) -> None:
    from .storage.rows import check_name

    if name is not None:
        check_name(name)


def _bytes(value: int) -> str:
    from .planning import size

    return size(value)


def _wrote(path: Path) -> None:
    err.print(Text(f"wrote {path}"), soft_wrap=True)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def main() -> None:
    """Run the command; the only place where errors become exit codes."""
    try:
        tune.main(standalone_mode=False)
    except click.ClickException as error:
        err.print(Text(f"tune: {error.format_message()}"))
        if isinstance(error, click.UsageError) and error.ctx is not None:
            err.print(Text(f"see: {error.ctx.command_path} --help", style="dim"))
        sys.exit(2 if isinstance(error, click.UsageError) else 1)
    except LoratuneError as error:
        err.print(Text(f"tune: {' '.join(str(error).split())}"), soft_wrap=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        err.print("tune: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
