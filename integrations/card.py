"""The model card that a folder of weights is read by: what it is, how it was chosen, its losses.

Knows the trial alone; which lines load a folder is its exporter's to say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ..study.format import counted, show_loss, show_value
from ..study.full_run import EPOCHS
from ..study.handover import Compared, Handover, provenance

SHORT = "These are the weights of that short trial itself; a full run with these values should do better."


def card(handed: Handover, *, title: str, front: Mapping[str, Any], load: str) -> str:
    """Return a card as Markdown.

    Args:
        handed: the trial.
        title: what the folder holds.
        front: what the Hub reads, as YAML before the text.
        load: lines of Python that load the folder.
    """
    what, share, *_ = provenance(dataclasses.replace(handed, epochs=EPOCHS))
    params = handed.trial.params.to_dict() | {"max_grad_norm": handed.objective.max_grad_norm}
    parts = [
        f"---\n{yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True)}---\n",
        f"# {title}\n",
        f"{what} {share}\n",
        *([f"{handed.chosen}\n"] if handed.chosen else []),
        *([f"{handed.quantized}\n"] if handed.quantized else []),
        *([] if handed.trained else [f"{SHORT}\n"]),
        f"## Load\n\n```python\n{load}```\n",
        f"## Losses\n\n{_losses(handed)}\n",
        f"## Data\n\n{_data(handed)}\n",
        f"## Configuration\n\n{_table(('hyperparameter', 'value'), _shown(params))}",
    ]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _shown(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, show_value(value)) for name, value in values.items()]


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _losses(handed: Handover) -> str:
    """Return the losses, each other one with the interval of its difference from this one."""
    if handed.trial.value is None:
        return "It has no final loss."
    this = ("this one", show_loss(handed.trial.value), "")
    rows = [this, *((one.name, show_loss(one.loss), _difference(one)) for one in handed.compared)]
    opened = handed.test_openings
    looked = f"was opened {counted(opened, 'time')} on these data" if opened else "was not looked at"
    on = counted(handed.budget.final_eval_examples, "validation example")
    return (
        f"Mean loss per target token on {on}; the intervals (95 %) are of the paired difference over these "
        "examples, and know nothing of the luck of one training run. The validation set was chosen by; the "
        f"test set {looked}.\n\n" + _table(("", "eval loss", "higher than this one by"), rows)
    )


def _difference(one: Compared) -> str:
    if one.low is None or one.high is None:
        return f"{show_loss(one.difference)} (too few common examples for an interval)"
    return f"{show_loss(one.difference)} ({show_loss(one.low)} to {show_loss(one.high)})"


def _data(handed: Handover) -> str:
    data = handed.data
    rows = [
        ("fingerprint", f"`{data.fingerprint}`"),
        ("template", data.template),
        ("training examples", str(data.train)),
        ("validation examples", str(data.validation)),
        ("test examples", str(data.test)),
        ("examples are cut at", counted(data.cutoff_len, "token")),
        ("seed", str(handed.trial.seed)),
    ]
    return "Equal fingerprints mean the same tokens in the same split.\n\n" + _table(("", ""), rows)
