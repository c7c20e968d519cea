"""The configurations of a confirmation as rows of a table: made of its facts alone."""

from __future__ import annotations

import dataclasses

from ..study.format import show_count, show_loss
from ..study.metric import METRICS
from .confirm_facts import Configuration, Confirmation
from .crossed import Estimate

INTERVAL = "95 % over seeds"
"""The column of the mean's interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration in that table."""

    cells: tuple[str, ...]
    """A text for each column."""
    says: str
    """What else there is to say: ``recommended``, ``tied``, ``default`` …"""
    recommended: bool
    """Whether it is the recommended one."""


def header(found: Confirmation) -> tuple[str, ...]:
    """Return the columns of the table of configurations; the loss has its own where it is not the mean."""
    loss = () if METRICS[found.metric].is_loss else ("loss",)
    return "trial", "search", "mean", INTERVAL, "worse than the best by", *loss, "weights", "steps"


def row_of(found: Confirmation, one: Configuration) -> Row:
    """Return a configuration as a row of the table."""
    mean, difference, recommended = one.mean, one.difference, one.trial == found.recommended
    said = [
        *(["recommended"] if recommended else ["tied"] if one.tied else []),
        *([found.default_name] if one.default else []),
        *([one.lost] if one.lost is not None else []),
    ]
    between = "–" if mean is None or mean.low is None else f"{show_loss(mean.low)} to {show_loss(mean.high)}"
    between = "all the same" if mean is not None and mean.flat else between
    cells = (
        str(one.trial),
        show_loss(one.searched),
        show_loss(None if mean is None else mean.value),
        between,
        "–" if difference is None else _worse_by(difference),
        *(() if METRICS[found.metric].is_loss else (show_loss(one.mean_loss),)),
        "–" if one.weights is None else show_count(one.weights),
        show_count(one.steps),
    )
    return Row(cells=cells, says=", ".join(said), recommended=recommended)


def _worse_by(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return show_loss(difference.value)
    if difference.flat:
        return f"{show_loss(difference.value)} (always)"
    ends = f"{difference.low:+.4f} to {difference.high:+.4f}".replace("-", "−")
    return f"{show_loss(difference.value)} ({ends})"
