"""How well the likeliest labels agree with the right ones, by scikit-learn.

A label's likelihood is that of its tokens as the answer, a mean over them: so a long label is not at a
disadvantage. Knows nothing of models or of studies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelMetrics:
    """What a trial's labels are worth."""

    labels: tuple[str, ...]
    """The labels that are among the examples or were predicted, in their order in the data's facts."""
    examples: int
    """Examples that they were measured on."""
    accuracy: float
    """Share of the examples whose label was the likeliest."""
    most_frequent: float
    """Share of the most frequent label: what always answering that would be worth."""
    precision_macro: float
    """Mean over the labels of: which share of those predicted are right."""
    recall_macro: float
    """Mean over the labels of: which share of those that there are was found."""
    f1_macro: float
    """Mean over the labels of the harmonic mean of the two."""
    precision_weighted: float
    """As ``precision_macro``, each label as often as it occurs."""
    recall_weighted: float
    """As ``recall_macro``, each label as often as it occurs: the accuracy again."""
    f1_weighted: float
    """As ``f1_macro``, each label as often as it occurs."""
    auc: float | None
    """Area under the ROC curve of the second label; None where there are not exactly two."""
    confusion: tuple[tuple[int, ...], ...]
    """Examples by their right label (rows) and the likeliest one (columns)."""


def predicted(losses: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return ``[n]`` the likeliest label by ``losses`` ``[n, labels]``, the first of equals.

    A loss that is no number is as bad as can be.
    """
    found: npt.NDArray[np.int64] = np.where(np.isnan(losses), np.inf, losses).argmin(axis=1)
    return found


def label_metrics(
    losses: npt.NDArray[np.float32], right: Sequence[int], labels: Sequence[str]
) -> LabelMetrics:
    """Return the metrics of ``losses`` ``[n, labels]``, each the mean loss of a label's tokens.

    Args:
        losses: of each example and label.
        right: ``[n]`` or longer, each example's label, as its place in ``labels``.
        labels: their names.
    """
    from sklearn import metrics  # half a second, and only where it is asked for

    truth = np.asarray(right[: len(losses)], dtype=np.int64)
    found = predicted(losses)
    present = sorted(set(truth.tolist()) | set(found.tolist()))
    of = {
        average: metrics.precision_recall_fscore_support(
            truth, found, labels=present, average=average, zero_division=0
        )
        for average in ("macro", "weighted")
    }
    return LabelMetrics(
        labels=tuple(labels[place] for place in present),
        examples=len(truth),
        accuracy=float(metrics.accuracy_score(truth, found)),
        most_frequent=float(np.bincount(truth).max() / len(truth)),
        precision_macro=float(of["macro"][0]),
        recall_macro=float(of["macro"][1]),
        f1_macro=float(of["macro"][2]),
        precision_weighted=float(of["weighted"][0]),
        recall_weighted=float(of["weighted"][1]),
        f1_weighted=float(of["weighted"][2]),
        auc=_auc(losses, truth) if len(labels) == 2 else None,
        confusion=tuple(
            tuple(int(count) for count in row)
            # Asked for all labels: of one alone the library warns.
            for row in metrics.confusion_matrix(truth, found, labels=range(len(labels)))[present][:, present]
        ),
    )


def _auc(losses: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float | None:
    from sklearn import metrics

    margin = losses[:, 0].astype(np.float64) - losses[:, 1]
    if len(set(truth.tolist())) < 2 or not np.isfinite(margin).all():
        return None
    return float(metrics.roc_auc_score(truth == 1, margin))
