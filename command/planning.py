"""The plan of a search as the terminal shows it: names, and sentences beside them.

Pure: from the plan's values to words.
"""

from __future__ import annotations

from typing import Any

from ..nouns import numbered, plural
from ..reports.data_words import column_lines, cut_words, reason_line
from ..reports.paired import MIN_EXAMPLES
from ..study.budget import LEAST_EVAL_EXAMPLES
from ..study.facts import ColumnUse, Endings, LeftOut
from ..study.format import (
    counted,
    join,
    show_bytes,
    show_count,
    show_loss,
    show_numbers,
    show_seconds,
    show_share,
    show_short,
)
from ..study.stop_tokens import ending_sentence, ending_warnings

REASONS_SHOWN = 8
"""Reasons for leaving records out that the plan gives, the most frequent first."""


def plan_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the plan as (name, words), without the rendered example."""
    from ..spaces.presets import PRESETS
    from ..study.full_run import EPOCHS

    model, data, memory = values["model"], values["data"], values["memory_bytes"]
    steps = ", ".join(
        f"{show_count(count)} at batch {size}" for size, count in values["optimizer_steps"].items()
    )
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
            f"{model['name_or_path']}  ({model['architecture']}, {show_short(model['parameters'])} weights, "
            f"{show_numbers(model['dtype'], model['bits'])} on {model['device']}, "
            f"{numbered(model['adapted_layers'], 'layer')} adapted"
            + (", activations recomputed)" if model["gradient_checkpointing"] else ")"),
        ),
        (
            "data",
            f"{join(data['files'])}  ({data['format']}, template {data['template']}): "
            f"{show_count(data['train'])} train, {show_count(data['validation'])} validation, "
            f"{show_count(data['test'])} test{bad}{repeats}{cut}; "
            f"median {numbered(data['median_tokens'], 'token')}, "
            f"longest {show_count(data['longest_tokens'])} of at most {show_count(data['cutoff_len'])}{most}",
        ),
        *_data_lines(data),
        *_ending_lines(data),
        ("space", f"preset {values['preset']}: {PRESETS[values['preset']].words}"),
        *((f"  {name}", words) for name, words in values["space"].items()),
        *_own_lines(values),
        (
            "a trial",
            f"{numbered(values['examples'], 'example')}, {share(values['epochs'])} of the training data, "
            f"{_percent(values['share_of_full_run'])} of a run of {EPOCHS:g} epochs; "
            f"{steps} {plural(last, 'step')}",
        ),
        (
            "evaluation",
            f"{numbered(values['eval_examples'], 'example')} after 1, 2 and 4 eighths of a trial; "
            f"{show_count(values['final_eval_examples'])} at the end",
        ),
        *(("note", note) for note in values["notes"]),
        *_few_lines(values),
        (
            "memory",
            f"{show_bytes(memory['base_model'])} base model, "
            f"{show_bytes(memory['process'])} the worker's own, {show_bytes(memory['slot'])} a slot; "
            f"{show_bytes(memory['worker'])} per worker of {show_bytes(memory['available'])} free"
            + ("" if fits else ": does not fit, lower --slots or --workers"),
        ),
        *_disk_lines(values),
        *_method_lines(values),
        *_step_lines(values),
        *_time_lines(values),
        *([("earlier", values["earlier"])] if values.get("earlier") else []),
        ("base model", f"eval loss {show_loss(values['base_loss'])}"),
    ]


def _own_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what trial 0 is, where the user gave a file of their trainer, and what is otherwise here."""
    own = values.get("own")
    if own is None:
        return []
    first = f"what {own['file']} trains with, which all are held against: {own['params']}"
    return [("trial 0", first), *(("note", note) for note in own["notes"])]


def _time_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Say how many trials the search has, and how long all that is planned takes."""
    about = f"about {show_seconds(3600 * values['hours'], about=True)}"
    if values["examples_in_all"] is None or not values["steps"]:
        return [("search", f"{_at_once(values)}, {about} {_how_known(values)}")]
    # The steps train few trials at once, so they take a good part of it.
    return [
        ("search", _at_once(values)),
        ("time", f"{about} for the search and all its steps {_how_known(values)}"),
    ]


def _how_known(values: dict[str, Any]) -> str:
    """Say where the time comes from: a study that was run, or an estimate."""
    speed = f"{show_count(round(values['examples_per_second']))} examples/s"
    study = values["hours_as_in"]
    return f"(rough, an estimate from {speed})" if study is None else f"(as study {study} went: {speed})"


def _disk_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what trials that wait for a place keep, where any do."""
    size = values["waiting_bytes"]
    if size is None:
        return []
    return [("disk", f"up to {show_bytes(size)} while trials wait for a place, each with its last state")]


_METHODS = {
    "full": "full: every weight, in float32",
    "freeze": "freeze: the last layers, in float32",
    "lora": "LoRA",
    "qlora": "QLoRA: a base of 4 bits",
}


def _method_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what each way of training takes beside the rule of thumb, and which is advised."""
    methods = values["methods"]
    if not methods:
        return []
    lines = [
        (
            "one run takes" if not index else "",
            f"{show_bytes(one['peak_bytes'])} {_METHODS[one['name']]} "
            f"({show_short(one['trained_weights'])} weights trained; rule of thumb "
            f"{show_bytes(one['rule_of_thumb_bytes'])})" + ("" if one["fits"] else ": does not fit"),
        )
        for index, one in enumerate(methods)
    ]
    alone = len(methods) == 1
    advice = {
        "lora": "LoRA, which fits as it is",
        "qlora": "QLoRA, which alone can train weights that lie there in 4 bits"
        if alone
        else "QLoRA (--quantization-bit 4), since LoRA on the base as it is does not fit",
        None: "none of them fits: a smaller model, a shorter --cutoff-len, or a device with more memory",
    }
    return [*lines, ("recommended", advice[values["recommended"]])]


def _step_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Say what comes after the search where examples or hours were given for everything."""
    if values["examples_in_all"] is None:
        return []
    steps = values["steps"]
    if not steps:
        return [("in all", f"{counted(values['examples_in_all'], 'example')}, all of them the search's")]
    first, *others = steps
    words = [f"{numbered(first['trials'], 'trial')} of {counted(first['examples'], 'example')}"]
    words += [f"{step['trials']} of {show_count(step['examples'])}" for step in others]
    return [
        (
            "in all",
            f"{counted(values['examples_in_all'], 'example')}: search, then {', '.join(words)}; each goes "
            f"on from one below, and the last reads {_reads(steps[-1]['epochs'])}",
        )
    ]


def _reads(epochs: float) -> str:
    if epochs < 1:
        return f"{_percent(epochs)} of the training data"
    times = f"{epochs:.2g}"
    return "the training data once" if times == "1" else f"the training data {times} times"


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
    endings = Endings(**data["endings"])
    words = ending_sentence(endings)
    lines = [("warning" if data["stops_differ"] else "answers", words)] if words else []
    return lines + [("note", note) for note in ending_warnings(endings)]


def _at_once(values: dict[str, Any]) -> str:
    """Return how many trials there are and how many of them train together."""
    room = f"{counted(values['workers'], 'worker')} of {counted(values['slots'], 'slot')}"
    if values["at_once"] < values["workers"] * values["slots"]:
        room = f"a quarter of all at most, in {room}"
    # Examples in all may be used up before so many have begun: how far each goes is not known yet.
    most = "" if values["examples_in_all"] is None else "up to "
    return f"{most}{counted(values['trials'], 'trial')}, {show_count(values['at_once'])} at once ({room})"


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


def _percent(share: float) -> str:
    """Return a share in percent, as plain text; one below 1 % is not 0 %."""
    return show_share(share).replace("\u00a0", " ")


def share(epochs: float) -> str:
    """Return a share of the training data: ``35 %`` or ``2.2 times all``."""
    if epochs < 1:
        return _percent(epochs)
    return f"{epochs:.2g} times all" if epochs < 10 else f"{epochs:.0f} times all"
