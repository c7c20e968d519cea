"""The metrics of labels are scikit-learn's own on the same predictions, whatever these are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from loratune.metrics.labels import label_metrics, predicted
from sklearn import metrics as sklearn_metrics


@st.composite
def measured(draw, least: int = 2, most: int = 6):
    """Losses of each example and label, and the right labels."""
    labels = draw(st.integers(least, most))
    examples = draw(st.integers(1, 40))
    losses = draw(
        of_numpy.arrays(
            np.float32, (examples, labels), elements=st.floats(0, 10, width=32, allow_subnormal=False)
        )
    )
    right = draw(st.lists(st.integers(0, labels - 1), min_size=examples, max_size=examples))
    return losses, right, tuple(f"label {place}" for place in range(labels))


@given(measured())
@settings(max_examples=60, deadline=None)
def test_they_equal_scikit_learns_on_the_same_predictions(made):
    losses, right, labels = made
    found = label_metrics(losses, right, labels)
    guesses = [int(np.argmin(row)) for row in losses]
    present = sorted({*right, *guesses})
    names = tuple(labels[place] for place in present)
    assert found.labels == names
    assert found.accuracy == sklearn_metrics.accuracy_score(right, guesses)
    for average in ("macro", "weighted"):
        for name, score in (
            ("precision", sklearn_metrics.precision_score),
            ("recall", sklearn_metrics.recall_score),
            ("f1", sklearn_metrics.f1_score),
        ):
            expected = score(right, guesses, labels=present, average=average, zero_division=0)
            assert getattr(found, f"{name}_{average}") == pytest.approx(expected, abs=1e-12)
    everything = sklearn_metrics.confusion_matrix(right, guesses, labels=range(len(labels)))
    matrix = everything[np.ix_(present, present)]
    assert matrix.sum() == everything.sum()
    assert np.array_equal(found.confusion, matrix)
    assert found.examples == len(right) == matrix.sum()
    assert found.most_frequent == max(right.count(place) for place in set(right)) / len(right)


@given(measured(most=2))
@settings(max_examples=60, deadline=None)
def test_the_area_under_the_curve_is_that_of_the_second_label(made):
    losses, right, labels = made
    found = label_metrics(losses, right, labels)
    if len(set(right)) < 2:
        assert found.auc is None
    else:
        margin = losses[:, 0].astype(float) - losses[:, 1]
        assert found.auc == sklearn_metrics.roc_auc_score(right, margin)


def test_more_than_two_labels_have_no_area_under_the_curve():
    assert label_metrics(np.eye(3, dtype=np.float32), [0, 1, 2], ("a", "b", "c")).auc is None


def test_a_loss_that_is_no_number_is_never_the_likeliest():
    losses = np.array([[np.nan, 3.0], [2.0, np.nan], [1.0, np.inf]], np.float32)
    assert predicted(losses).tolist() == [1, 0, 0]


def test_only_the_examples_that_were_measured_are_counted():
    found = label_metrics(np.array([[0.1, 0.2]], np.float32), [0, 1, 1], ("yes", "no"))
    assert (found.examples, found.accuracy, found.most_frequent) == (1, 1.0, 1.0)
