"""Whether a study's metric can be measured on its data, asked once the data has been looked at."""

from __future__ import annotations

from ..errors import UsageError
from ..study.facts import Facts
from ..study.metric import METRICS, MetricName


def check_measurable(name: MetricName, facts: Facts) -> None:
    """Raise ``UsageError`` where the data lacks the labels, or the answers, that a metric is about."""
    needs = METRICS[name].needs
    if needs == "labels" and not facts.answers.labels:
        raise UsageError(
            f"--metric {name}: the data has no labels, its answers are of too many kinds or hardly repeat; "
            f"take {_others(*(('nothing',) if facts.data.format == 'text' else ('nothing', 'writing')))}"
        )
    if needs == "writing" and facts.data.format == "text":
        raise UsageError(
            f"--metric {name}: plain text has no prompts to write answers to; take {_others('nothing')}"
        )


def _others(*needs: str) -> str:
    names = [metric.name for metric in METRICS.values() if metric.needs in needs]
    return ", ".join(names[:-1]) + f" or {names[-1]}"
