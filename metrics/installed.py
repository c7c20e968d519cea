"""Whether the libraries of a metric are there; a search asks before it begins."""

from __future__ import annotations

import importlib.util

from ..errors import UsageError
from ..study.metric import METRICS, MetricName

LIBRARIES: dict[MetricName, tuple[str, str]] = {
    "accuracy": ("sklearn", "scikit-learn"),
    "f1_macro": ("sklearn", "scikit-learn"),
    "rouge_l": ("rouge_score", "rouge-score"),
}
"""By metric: the module, and the library's name; the others need none."""


def has_scikit_learn() -> bool:
    """Say whether the metrics of labels can be computed."""
    return importlib.util.find_spec("sklearn") is not None


def check_installed(name: MetricName) -> None:
    """Raise ``UsageError`` where a metric needs a library that is not installed."""
    module, library = LIBRARIES.get(name, ("", ""))
    if module and importlib.util.find_spec(module) is None:
        others = " or ".join(other for other in METRICS if other not in LIBRARIES)
        raise UsageError(
            f"--metric {name}: {library} is not installed; pip install 'loratune[metrics]', or take {others}"
        )
