"""LoRA beside the same training without adapters: the facts, the cells, the page and the terminal."""

import dataclasses
import datetime
import io

import numpy as np
import pytest
from loratune.command.plain_training import print_yardsticks
from loratune.reports.page import render
from loratune.reports.yardsticks import HEADER, cells, yardsticks
from loratune.study.plain_method import PlainMethod
from loratune.study.records import Evaluation, EventRecord
from loratune.study.yardstick import KIND, Yardstick
from rich.console import Console


def measured(view, shift, **changes):
    """Return the event of a run whose examples have so much more loss than the trial's."""
    own = view.evaluations[0]
    noise = np.random.default_rng(0).normal(0, 0.01, len(own.losses))
    losses = (own.losses + (shift + noise) * own.tokens).astype(np.float32)
    made = Yardstick(
        **{
            "method": PlainMethod(name="full", learning_rate=2e-4),
            "trial": 0,
            "trainable": 7_600_000,
            "evaluation": Evaluation(losses=losses, tokens=own.tokens),
            "rounds": 8,
            "memory_bytes": 3 * 2**30,
            "seconds": 100.0,
            **changes,
        }
    )
    return EventRecord(at=datetime.datetime.now(datetime.UTC), kind=KIND, detail=made.to_json())


@pytest.fixture(name="made")
def make_view(view):
    """A view with its best trial alone, as one of full length, and two runs beside it."""
    best = view.best()
    trial = dataclasses.replace(best, number=0)
    evaluations = {0: view.evaluations[best.number]}
    curve = tuple(dataclasses.replace(point, trial=0) for point in view.points(best.number))
    made = dataclasses.replace(view, trials=(trial,), evaluations=evaluations, curve=curve)
    last = PlainMethod(name="freeze", layers=2, learning_rate=1e-3)
    return dataclasses.replace(made, events=(measured(made, -0.5), measured(made, 0.25, method=last)))


def test_the_difference_is_that_of_the_same_examples_and_minus_where_it_is_lower(made):
    found = yardsticks(made)
    lora, full, freeze = found.rows
    assert (lora.name, lora.interval, lora.loss) == ("LoRA", None, made.trials[0].value)
    assert full.loss - lora.loss == pytest.approx(-0.5, abs=0.01)
    assert full.interval.low < full.loss - lora.loss < full.interval.high < 0
    assert freeze.interval.difference == pytest.approx(freeze.loss - lora.loss, abs=1e-5)
    assert freeze.interval.low > 0
    assert found.examples == len(made.evaluations[0].losses)


def test_memory_time_and_weights_are_those_of_each(made):
    lora, full, _ = yardsticks(made).rows
    points = made.points(0)
    assert lora.memory_bytes == max(point.memory_bytes for point in points)
    assert lora.seconds == sum((p.finished_at - p.started_at).total_seconds() for p in points)
    assert lora.trainable == made.model.trainable(made.trials[0].params)
    assert (full.trainable, full.memory_bytes, full.seconds) == (7_600_000, 3 * 2**30, 100.0)


def test_the_cells_are_in_the_order_of_the_header(made):
    full = yardsticks(made).rows[1]
    found = dict(zip(HEADER, cells(full), strict=True))
    assert found["method"] == "full"
    assert found["weights"] == "7.6M"
    assert found["learning rate"] == "0.0002"
    assert found["peak memory"] == "3 GiB"
    assert found["time"] == "1 min 40 s"
    assert found["against LoRA"].startswith("−0.")


def test_who_was_trained_beside_others_is_said_to_have_been(view, made):
    assert "trained together" not in yardsticks(made).sentence
    two = dataclasses.replace(made, trials=(*made.trials, view.trials[1]))
    assert "those of 2 trials that trained together" in yardsticks(two).sentence


def test_a_study_that_nothing_was_measured_against_has_no_table(view):
    assert yardsticks(view) is None
    assert 'id="yardsticks"' not in render(view)


def test_the_page_and_the_terminal_show_the_same_cells(made):
    page = render(made)
    assert 'id="yardsticks"' in page
    out = Console(file=io.StringIO(), width=200)
    print_yardsticks(out, yardsticks(made))
    for row in yardsticks(made).rows:
        for cell in cells(row):
            assert cell in page
            assert cell in out.file.getvalue()
