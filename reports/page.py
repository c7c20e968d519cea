"""The report: one page that holds everything it shows, opens offline, and runs no script but its own.

Facts come from report_facts.py, figures from plots/; here they are only arranged. Every text that came from
a user, a model or a data file is escaped, and a content policy names the page's own scripts by hash.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import importlib.resources
import re
from pathlib import Path
from typing import Any

import jinja2
import plotly.io
import plotly.offline

from ..errors import ReportError
from ..spaces.params import HYPERPARAMETERS, value_of
from ..study.format import (
    counted,
    have_ended,
    show_count,
    show_loss,
    show_numbers,
    show_share,
    show_source,
    show_value,
)
from ..study.stop_tokens import ending_sentence, ending_warnings
from ..whole_files import check_ours, is_there, write_text
from .answer_words import answer_rows
from .comparison import Comparison
from .confirm_facts import Confirmation
from .confirm_table import header, row_of
from .confirm_words import headline, sentences, warnings
from .data_words import column_lines, cut_words, reason_line
from .plots.drawing import FONT
from .plots.kinds import KINDS
from .plots.save import plot_figure
from .report_facts import StudyFacts, study_facts
from .samples import Samples
from .state_looks import LOOKS
from .view import StudyView
from .yardsticks import HEADER, cells

_MARK = b"loratune report</title>"
"""What every report has in its head."""


def write_report(view: StudyView, path: Path, *, at: str = "", samples: Samples | None = None) -> None:
    """Write the report of a study, whatever state it is in; raises ``ReportError``.

    ``at`` is what its commands need to find the database, such as `` --storage other.db``. ``samples`` are
    answers that its models have written.
    """
    check_place(path)
    write_text(path, render(view, at=at, samples=samples))


def check_place(path: Path) -> bool:
    """Return whether a report there replaces another; raises ``ReportError`` where it may not."""
    if path.is_dir():
        raise ReportError(f"{path}: is a folder; name a file")
    check_ours(path, _MARK)
    return is_there(path)


def render(view: StudyView, *, at: str = "", samples: Samples | None = None) -> str:
    """Return the report as HTML."""
    facts = study_facts(view)
    figures = _figures(view)
    plotly_js = plotly.offline.get_plotlyjs() if figures else ""
    script = _own("page.js")
    return (
        _environment()
        .from_string(_own("page.html"))
        .render(
            facts=facts,
            policy=_policy(plotly_js, script),
            font=FONT,
            colors={state: look.color for state, look in LOOKS.items()},
            comparisons=[
                _card(comparison)
                for comparison in (facts.verdict.base, facts.verdict.default)
                if comparison is not None
            ],
            configuration=_configuration(facts),
            answered=answer_rows(facts.answers.answered),
            samples=samples,
            confirmed=[_confirmed(found) for found in facts.confirmations],
            yardsticks=[] if facts.yardsticks is None else [cells(row) for row in facts.yardsticks.rows],
            yardstick_names=HEADER,
            plots=[(name, KINDS[name].words) for name, _ in figures],
            figures=figures,
            data=_data(facts),
            example=_example(facts.data.rendered),
            how=_how(facts),
            commands=_commands(facts, at),
            plotly=plotly_js,
            script=script,
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        loss=show_loss, share=show_share, count=show_count, source=show_source, when=_when
    )
    environment.globals.update(counted=counted, have_ended=have_ended)
    return environment


def _figures(view: StudyView) -> list[tuple[str, str]]:
    """Return (kind, figure as JSON) of every plot that there is enough for."""
    found = []
    for name in KINDS:
        try:
            figure = plot_figure(view, name)
        except ReportError:
            continue
        found.append((name, _inside_script(plotly.io.to_json(figure))))
    return found


def _inside_script(text: str) -> str:
    """Return JSON that cannot end the script element it lies in, nor begin a comment there.

    Outside of strings JSON has none of these characters, so escaping all of them changes no value.
    """
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _policy(*scripts: str) -> str:
    """Return a content policy under which nothing is loaded and only these scripts run."""
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"
        for script in scripts
        if script
    ]
    # Plotly styles its elements inline; style cannot run code or, with nothing loadable, send anything.
    return (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _card(comparison: Comparison) -> dict[str, str]:
    interval = comparison.interval
    # A negative change is a lower loss: the sign that a reader expects.
    change = f"{comparison.best_loss - comparison.loss:+.4f}".replace("-", "−")
    if interval is None:
        note = "too few examples for an interval"
    elif interval.distinguishable:
        note = f"95 %: {-interval.high:+.4f} to {-interval.low:+.4f}".replace("-", "−")
    else:
        note = "not distinguishable"
    return {"against": comparison.against, "change": change, "note": note}


def _confirmed(found: Confirmation) -> dict[str, Any]:
    return {
        "found": found,
        "headline": headline(found),
        "warnings": warnings(found),
        "header": header(found),
        "rows": [row_of(found, one) for one in found.configurations],
        "sentences": sentences(found),
    }


def _configuration(facts: StudyFacts) -> list[tuple[str, str, str]]:
    """Return (name, value, what it could be) of the best trial, searched parameters first."""
    params = facts.verdict.params
    if params is None:
        return []
    words = dict(facts.space)
    rows = [(name, show_value(value_of(params, name)), f"searched: {words[name]}") for name in facts.varied]
    for name in facts.varied:
        field = HYPERPARAMETERS[name].stands_for
        if field is not None:
            rows.append((field, show_value(getattr(params, field)), f"{name} × lora_rank"))
    named = {name for name, _, _ in rows}
    rows += [
        (name, show_value(value), "fixed") for name, value in params.to_dict().items() if name not in named
    ]
    return rows


def _data(facts: StudyFacts) -> list[tuple[str, str]]:
    data = facts.data
    shortened = () if data.shortened is None else (data.shortened,)
    rows = [(f"{name} file", file) for name, file in facts.data_files]
    least, lower, median, upper, greatest = data.length_quantiles
    return [
        *rows,
        ("format, template", f"{data.format}, {data.template}"),
        *(("columns", words) for words in column_lines(data.columns)),
        ("records", f"{show_count(data.records)} read, {show_count(data.bad)} left out as bad"),
        *((f"left out: {count}", words) for count, words in map(reason_line, data.reasons)),
        *((f"cut short: {count}", words) for count, words in map(reason_line, shortened)),
        ("exact repeats left out", show_count(data.duplicates)),
        (
            "split",
            f"{show_count(data.train)} train, {show_count(data.validation)} validation, "
            f"{show_count(data.test)} test",
        ),
        (
            "training tokens",
            f"{show_count(data.tokens)}, the loss on {show_count(data.target_tokens)} of them",
        ),
        (
            "length of an example",
            f"{show_count(least)} to {show_count(greatest)} tokens; "
            f"half lie in {show_count(lower)} to {show_count(upper)}, median {show_count(median)}",
        ),
        (
            "cut to cutoff_len",
            f"{cut_words(data.truncated, data.train + data.validation + data.test, data.ends_lost)}; "
            f"it is {counted(data.cutoff_len, 'token')}",
        ),
        *([("end of an answer", words)] if (words := ending_sentence(data.endings)) else []),
        *(("note", words) for words in ending_warnings(data.endings)),
        ("fingerprint", data.fingerprint),
    ]


def _example(rendered: str) -> list[tuple[str, bool]]:
    """Split a rendered example into (text, whether the loss is taken on it)."""
    parts = re.split(r"⟦(.*?)⟧", rendered, flags=re.DOTALL)
    return [(part, index % 2 == 1) for index, part in enumerate(parts) if part]


def _how(facts: StudyFacts) -> list[tuple[str, str]]:
    model = facts.model
    name = model.name_or_path + (f" at {model.revision}" if model.revision else "")
    numbers = show_numbers(model.dtype, model.bits)
    return [
        ("base model", name),
        ("architecture", f"{model.architecture}, {counted(model.parameters, 'weight')}, {numbers}"),
        ("layers that can carry an adapter", show_count(len(model.targets))),
        ("device", f"{model.device_name} ({model.device})"),
        *facts.settings,
        ("configuration of trial 0", facts.default_source or "–"),
        *facts.environment.items(),
    ]


def _commands(facts: StudyFacts, at: str) -> list[str]:
    more = max(facts.outcomes.wanted, facts.outcomes.ended)
    study = f"{facts.name}{at}"
    lines = [f"tune resume {study}"] if facts.verdict.running else []
    if facts.stage is None and not facts.verdict.running:
        lines = [f"tune resume {study} --trials {more + 20}"]
    if (
        facts.verdict.number is not None
        and facts.stage in (None, "longer")
        and not (facts.verdict.confirmed or facts.verdict.last_step)
    ):
        lines.append(f"tune confirm {study}")
    if facts.verdict.number is not None and facts.stage is None and not facts.verdict.full_runs:
        lines.append(f"tune train {study}")
    if facts.verdict.number is not None and not facts.verdict.worse:
        lines += [
            f"tune export {study}",
            f"tune export {study} --format peft -o best/",
            f"tune export {study} --format llamafactory -o best.yaml",
        ]
    return [*lines, f"tune show {study}"]


def _when(time: datetime.datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC")


def _own(name: str) -> str:
    return (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")
