"""What a search would do, before it does: examples, steps, share of a full run, memory, hours.

Pure: from a configuration and a worker's facts to values and sentences.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..reports.data_words import column_lines, cut_note, cut_words, reason_line
from ..reports.format import counted
from ..reports.paired import MIN_EXAMPLES
from ..reports.stop_tokens import EndingsView, ending_sentence, ending_warnings, stops_differ
from ..spaces.nouns import numbered, plural
from ..study.budget import LEAST_EVAL_EXAMPLES, RUNGS
from ..study.facts import ColumnUse, LeftOut

if TYPE_CHECKING:
    # Optuna comes with them, as with most of reports; a command that only lists does without.
    from ..study.facts import Facts
    from ..study.study_config import StudyConfig

SHARE_WITH_PRUNING = 0.65
"""Quanta that are trained, of those of as many full trials: two measured studies, docs/log.md."""

EVAL_COST = 1 / 3
"""A forward pass takes about a third of a training step."""

REASONS_SHOWN = 8
"""Reasons for leaving records out that the plan gives, the most frequent first."""


def plan(config: StudyConfig, facts: Facts, *, trials: int, workers: int) -> dict[str, Any]:
    """Return the plan of a study as plain values, for ``--json``."""
    from ..reports.full_run import EPOCHS
    from ..search.concurrency import in_flight_limit

    budget, data, model, memory = facts.budget, facts.data, facts.model, facts.memory
    share = SHARE_WITH_PRUNING if config.pruner == "asha" else 1.0
    evaluated = budget.eval_examples * (len(RUNGS) - 1) + budget.final_eval_examples
    rows = trials * share * (budget.examples + EVAL_COST * evaluated)
    examples = data.train + data.validation + data.test
    shorter = data.cutoff_len < config.objective.data.cutoff_len
    cut = cut_note(data.truncated, examples, data.cutoff_len, is_context=shorter)
    return {
        "model": {
            "name_or_path": model.name_or_path,
            "revision": model.revision,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "device": model.device_name,
            "gpu": model.device.startswith("cuda"),
            "dtype": facts.geometry.dtype,
            "adapted_layers": len(facts.geometry.targets),
            "gradient_checkpointing": facts.geometry.gradient_checkpointing,
        },
        "data": {
            "file": config.objective.data.train,
            "format": data.format,
            "template": data.template,
            "records": data.records,
            "train": data.train,
            "validation": data.validation,
            "test": data.test,
            "bad": data.bad,
            "bad_records": [dataclasses.asdict(bad) | {"where": bad.where} for bad in data.bad_records],
            "duplicates": data.duplicates,
            "cutoff_len": data.cutoff_len,
            "context_is_shorter": shorter,
            "truncated": data.truncated,
            "ends_lost": data.ends_lost,
            "reasons": [dataclasses.asdict(reason) for reason in data.reasons],
            "shortened": None if data.shortened is None else dataclasses.asdict(data.shortened),
            "columns": [dataclasses.asdict(use) for use in data.columns],
            "median_tokens": data.length_quantiles[2],
            "longest_tokens": data.length_quantiles[4],
            "rendered": data.rendered,
            "rendered_cut": data.rendered_cut,
            "endings": dataclasses.asdict(data.endings),
            "stops_differ": stops_differ(EndingsView(**dataclasses.asdict(data.endings))),
        },
        "space": dict(config.space.describe()),
        "preset": config.preset,
        "pruner": config.pruner,
        "trials": trials,
        "examples": budget.examples,
        "epochs": budget.examples / data.train,
        "share_of_full_run": budget.examples / (EPOCHS * data.train),
        "optimizer_steps": {str(size): budget.steps(size) for size in budget.batch_sizes},
        "eval_examples": budget.eval_examples,
        "final_eval_examples": budget.final_eval_examples,
        "notes": [*([cut] if cut else []), *budget.notes, *facts.notes],
        "workers": workers,
        "slots": facts.slots,
        "at_once": min(workers * facts.slots, in_flight_limit(trials)),
        "memory_bytes": {
            "base_model": memory.base_bytes,
            "slot": memory.slot_bytes,
            "process": memory.worker_bytes,
            "worker": memory.base_bytes + memory.worker_bytes + facts.slots * memory.slot_bytes,
            "available": memory.available_bytes,
        },
        "base_loss": facts.base_loss,
        "examples_per_second": facts.rows_per_second * workers,
        "hours": rows / (facts.rows_per_second * workers) / 3600,
    }


def plan_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the plan as (name, words), without the rendered example."""
    from ..reports.full_run import EPOCHS
    from ..spaces.presets import PRESETS

    model, data, memory = values["model"], values["data"], values["memory_bytes"]
    steps = ", ".join(f"{count} at batch {size}" for size, count in values["optimizer_steps"].items())
    *_, last = values["optimizer_steps"].values()
    bad = f"; {counted(data['bad'], 'bad record')} left out" if data["bad"] else ""
    repeats = f"; {counted(data['duplicates'], 'repeat')} left out" if data["duplicates"] else ""
    examples = data["train"] + data["validation"] + data["test"]
    cut = f"; {cut_words(data['truncated'], examples, data['ends_lost'])}" if data["truncated"] else ""
    most = ", the model's context" if data["context_is_shorter"] else ""
    # On a CPU all workers share what is free; a GPU is one worker's own.
    sharing = 1 if model["gpu"] else values["workers"]
    fits = memory["worker"] * sharing <= memory["available"]
    return [
        (
            "model",
            f"{model['name_or_path']}  ({model['architecture']}, {count(model['parameters'])} weights, "
            f"{model['dtype']} on {model['device']}, {numbered(model['adapted_layers'], 'layer')} adapted"
            + (", activations recomputed)" if model["gradient_checkpointing"] else ")"),
        ),
        (
            "data",
            f"{data['file']}  ({data['format']}, template {data['template']}): {data['train']} train, "
            f"{data['validation']} validation, {data['test']} test{bad}{repeats}{cut}; "
            f"median {numbered(data['median_tokens'], 'token')}, "
            f"longest {data['longest_tokens']} of at most {data['cutoff_len']}{most}",
        ),
        *_data_lines(data),
        *_ending_lines(data),
        ("space", f"preset {values['preset']}: {PRESETS[values['preset']].words}"),
        *((f"  {name}", words) for name, words in values["space"].items()),
        (
            "a trial",
            f"{numbered(values['examples'], 'example')}, {share(values['epochs'])} of the training data, "
            f"{100 * values['share_of_full_run']:.0f} % of a run of {EPOCHS:g} epochs; "
            f"{steps} {plural(last, 'step')}",
        ),
        (
            "evaluation",
            f"{numbered(values['eval_examples'], 'example')} after 1, 2 and 4 eighths of a trial; "
            f"{values['final_eval_examples']} at the end",
        ),
        *(("note", note) for note in values["notes"]),
        *_few_lines(values),
        (
            "memory",
            f"{size(memory['base_model'])} base model, {size(memory['process'])} the worker's own, "
            f"{size(memory['slot'])} a slot; {size(memory['worker'])} per worker "
            f"of {size(memory['available'])} free"
            + ("" if fits else ": does not fit, lower --slots or --workers"),
        ),
        (
            "search",
            f"{_at_once(values)}, about {hours(values['hours'])} "
            f"(rough, from {values['examples_per_second']:.0f} examples/s)",
        ),
        ("base model", f"eval loss {values['base_loss']:.4f}"),
    ]


def _few_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a warning for each set of validation examples too small to tell trials apart by."""
    found = []
    final, rung = values["final_eval_examples"], values["eval_examples"]
    if final < MIN_EXAMPLES:
        found.append(
            f"{counted(final, 'validation example')} can hardly tell trials apart, so the best may be so by "
            "luck; give more records, --validation or more --eval-examples"
        )
    if rung < LEAST_EVAL_EXAMPLES and values["pruner"] != "none":
        found.append(
            f"trials are stopped early on {counted(rung, 'validation example')}; give more, or --pruner none"
        )
    return [("warning", words) for words in found]


def _ending_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how an answer ends, a warning where the model does not stop there."""
    endings = EndingsView(**data["endings"])
    words = ending_sentence(endings)
    lines = [("warning" if data["stops_differ"] else "answers", words)] if words else []
    return lines + [("note", note) for note in ending_warnings(endings)]


def _at_once(values: dict[str, Any]) -> str:
    """Return how many trials there are and how many of them train together."""
    room = f"{counted(values['workers'], 'worker')} of {counted(values['slots'], 'slot')}"
    if values["at_once"] < values["workers"] * values["slots"]:
        room = f"a quarter of all at most, in {room}"
    return f"{counted(values['trials'], 'trial')}, {values['at_once']} at once ({room})"


def _data_lines(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the columns are used for, and a line for each reason to leave out or change records."""
    columns, reasons = (
        [ColumnUse(**use) for use in data["columns"]],
        [LeftOut(**one) for one in data["reasons"]],
    )
    lines = [("  columns", words) for words in column_lines(columns)]
    for found in reasons[:REASONS_SHOWN]:
        count, words = reason_line(found)
        lines.append((f"  {count}", f"left out: {words}"))
    if more := reasons[REASONS_SHOWN:]:
        count = numbered(sum(found.count for found in more), "record")
        lines.append((f"  {count}", f"left out for {numbered(len(more), 'more reason')}"))
    if data["bad"]:
        named = len(data["bad_records"])
        lines.append(
            ("", f"tune plan --json names {'each' if named == data['bad'] else f'the first {named}'}")
        )
    if data["shortened"] is not None:
        count, words = reason_line(LeftOut(**data["shortened"]))
        lines.append((f"  {count}", words))
    return lines


def count(value: int) -> str:
    """Return a large number in short: ``260K``, ``7.6B``."""
    for unit, factor in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if value >= factor:
            return f"{_three_digits(value / factor)}{unit}"
    return str(value)


def size(value: int) -> str:
    """Return bytes in short: ``1.5 GiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= factor:
            return f"{_three_digits(value / factor)} {unit}"
    return f"{value} bytes"


def _three_digits(value: float) -> str:
    """Return a number with three significant digits, and never as a power of ten."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def share(epochs: float) -> str:
    """Return a share of the training data: ``35 %`` or ``2.2 times all``."""
    if epochs < 1:
        return f"{100 * epochs:.0f} %"
    return f"{epochs:.2g} times all" if epochs < 10 else f"{epochs:.0f} times all"


def hours(value: float) -> str:
    """Return a duration: ``40 s``, ``12 minutes`` or ``3.5 hours``."""
    if value < 1 / 60:
        return f"{max(1, round(3600 * value))} s"
    return counted(round(60 * value), "minute") if value < 1.5 else f"{value:.1f} hours"
