"""A study and its trials as the terminal shows them, for people; the list of all studies is in listing.py."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..spaces.params import value_of
from ..study.format import (
    have_ended,
    show_count,
    show_loss,
    show_numbers,
    show_share,
    show_source,
    show_value,
)
from ..study.ranking import ranked
from ..study.records import TrialRecord
from . import console
from .confirming import print_confirmation
from .plain_training import print_yardsticks
from .table_columns import LEADING, SHORT

if TYPE_CHECKING:
    from ..app.exporting import ExportNotice
    from ..reports.curve_reading import Reading
    from ..reports.report_facts import StudyFacts
    from ..reports.verdict import Verdict
    from ..reports.view import StudyView

ROWS = 10
"""Trials that ``tune show`` shows."""


def print_verdict(out: Console, found: Verdict) -> None:
    """Print who won, with which parameters, and how sure that is."""
    style = "" if found.number is None else "bold yellow" if found.worse else "bold green"
    console.say(out, Text(found.headline, style=style))
    if found.params is not None:
        console.say(out, console.show_params(found.params), indent=2)
    for sentence in found.sentences:
        console.say(out, sentence, indent=2)


def print_answers(out: Console, facts: StudyFacts) -> None:
    """Print how good the answers of base model, default and best are beside their loss."""
    answered = facts.answers.answered
    if not any(one.token_accuracy is not None for one in answered):
        return
    from ..reports.answer_words import answer_rows

    out.print()
    names = tuple(one.name for one in answered)
    rows = [(name, *cells) for name, cells in answer_rows(answered)]
    console.show_table(out, console.table(("", *names), rows, width=console.room(out), right=names))


def print_study(out: Console, facts: StudyFacts) -> None:
    """Print what a study is of: model, data, how it is searched and space, a line each."""
    files = [file for _, file in facts.data_files]
    settings, model = dict(facts.settings), facts.model
    space = "; ".join(f"{name} {words}" for name, words in facts.space)
    numbers = show_numbers(model.dtype, model.bits)
    pairs = [
        ("model", f"{model.name_or_path}  ({model.architecture}, {numbers} on {model.device})"),
        ("data", f"{', '.join(files) or 'not known'}  ({show_count(facts.data.train)} training examples)"),
        *((name, settings[name]) for name in ("follows", "sampler", "pruner", "seed") if name in settings),
        *([("space", f"preset {settings['preset']}: {space}")] if facts.stage is None else []),
        *([("memory", facts.memory.words)] if facts.memory is not None else []),
    ]
    console.say_pairs(out, pairs)


def print_trials(out: Console, view: StudyView) -> None:
    """Print the best trials of a study."""
    best = ranked(view.trials)
    others = (trial for trial in view.trials if trial.value is None)

    def farthest(trial: TrialRecord) -> tuple[float, ...]:
        last = view.last_eval(trial.number)
        return -trial.rounds, math.inf if last is None else last, trial.number

    shown = [*best, *sorted(others, key=farthest)]
    console.show_table(out, _trial_table(view, shown[:ROWS], console.room(out)))
    out.print(Text("rounds: how many of its 8 equal parts a trial was trained for", style="dim"))
    if len(shown) > ROWS:
        more = f"… and {len(shown) - ROWS} more; tune report -o report.html shows all"
        out.print(Text(more, style="dim"))


def print_trial(out: Console, view: StudyView, trial: TrialRecord, reading: Reading | None) -> None:
    """Print one trial, its curve and how that reads."""
    state = console.state_text(view.state_of(trial))
    out.print(
        Text.assemble(
            (f"trial {trial.number}", "bold"), "  ", state, f"  ({show_source(view.source_of(trial))})"
        )
    )
    if trial.reason:
        console.say(out, trial.reason, indent=2)
    if trial.number in view.waiting:
        console.say(out, view.waits_words(trial.number), indent=2)
    if trial.value is not None:
        out.print(Text(f"  eval loss {show_loss(trial.value)}; base model {show_loss(view.base_loss)}"))
        measured = view.evaluations.get(trial.number)
        if measured is not None and measured.token_accuracy is not None:
            words = f"  perplexity {show_loss(math.exp(trial.value))}"
            out.print(Text(f"{words}, token accuracy {show_share(measured.token_accuracy)}"))
        if trial.score is not None:
            out.print(Text(f"  {view.metric.words} {show_loss(trial.score)}, which the best is selected by"))
    for name, value in trial.params.to_dict().items():
        out.print(Text(f"  {name:<18} {show_value(value)}"))
    out.print()
    rows = (
        (
            point.round,
            show_count(point.examples),
            show_loss(point.train_loss),
            show_loss(point.eval_loss),
            f"{point.learning_rate:.2e}",
            show_loss(point.grad_norm),
            show_count(round(point.tokens_per_second)),
        )
        for point in view.points(trial.number)
    )
    header = ("round", "examples", "train", "eval", "lr", "grad norm", "tokens/s")
    lesser = {"tokens/s": 3, "grad norm": 2, "lr": 1}
    console.show_table(out, console.table(header, rows, width=console.room(out), right=header, lesser=lesser))
    if reading is not None:
        console.say(out, reading.sentence)


def _trial_table(view: StudyView, trials: Sequence[TrialRecord], width: int) -> Table:
    varied = [one.name for one in view.space.dimensions if not one.fixed]
    scored = not view.metric.is_loss
    rows = (
        (
            trial.number,
            console.state_text(view.state_of(trial)),
            show_loss(trial.value if trial.value is not None else view.last_eval(trial.number)),
            *((show_loss(trial.score),) if scored else ()),
            f"{trial.rounds}/8",
            *(show_value(value_of(trial.params, name)) for name in varied),
        )
        for trial in trials
    )
    head = ("eval", "score") if scored else ("eval",)
    names = [SHORT[name] for name in varied]
    ranks = {SHORT[name]: 1 if name in LEADING else 3 for name in varied}
    return console.table(
        ("trial", "state", *head, "rounds", *names),
        rows,
        width=width,
        right=("trial", *head, "rounds", *names),
        lesser={"rounds": 2, **ranks},
    )


def print_all(out: Console, view: StudyView, facts: StudyFacts) -> None:
    """Print a study: how it stands, the verdict, its facts and its best trials."""
    how = "running" if view.live else "interrupted" if facts.verdict.running else "over"
    ended = f"  {how}, {have_ended(facts.verdict.trials, facts.verdict.wanted)}"
    console.say(out, Text.assemble((view.study.name, "bold"), ended))
    if not facts.confirms_another:  # of such a study the single trial of the lowest loss says nothing
        print_verdict(out, facts.verdict)
        print_answers(out, facts)
    for found in facts.confirmations:
        out.print()
        print_confirmation(out, found)
    if facts.yardsticks is not None:
        out.print()
        print_yardsticks(out, facts.yardsticks)
    out.print()
    print_study(out, facts)
    out.print()
    print_trials(out, view)


def tell_of_export(told: ExportNotice) -> None:
    """Say what is to be known while an export is made."""
    warns = told.kind == "warning"
    text = Text(f"warning: {told.text}" if warns else told.text, style="yellow" if warns else "")
    console.say(console.ERR, text, indent=2 if told.kind == "detail" else 0)
