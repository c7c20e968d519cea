"""An evaluation's numbers come back from their columns as they were, what was not measured as None."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from loratune.storage.vectors import read, written
from loratune.study.records import Evaluation

FULL = Evaluation(
    losses=np.array([1.5, 2.25, 0.125], np.float32),
    tokens=np.array([3, 4, 1]),
    correct=np.array([1, 4, 0]),
    label_losses=np.array([[0.5, 1.0], [2.0, 0.25]], np.float32),
    marks=np.array([0.0, 1.0, 0.5], np.float32),
)
BARE = Evaluation(losses=FULL.losses, tokens=FULL.tokens)


@pytest.mark.parametrize("evaluation", [FULL, BARE], ids=["all", "losses alone"])
def test_what_is_written_is_read(evaluation):
    again = read(written(evaluation))
    for field in dataclasses.fields(Evaluation):
        before, after = getattr(evaluation, field.name), getattr(again, field.name)
        assert (before is None) == (after is None)
        if before is not None:
            assert np.array_equal(before, after)
            assert before.dtype == after.dtype


def test_a_row_without_the_later_columns_is_read_as_what_it_has():
    row = {name: value for name, value in written(FULL).items() if name in ("losses", "tokens")}
    assert read(row).correct is read(row).label_losses is read(row).marks is None


@pytest.mark.parametrize("name", ["losses", "tokens", "correct", "marks", "label_losses"])
def test_bytes_that_are_no_vectors_of_one_length_are_refused(name):
    row = written(FULL)
    with pytest.raises(ValueError):  # noqa: PT011
        read({**row, name: row[name][:-4]})
