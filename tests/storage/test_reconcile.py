"""Optuna's copy catches up with the record from any state that an interruption can leave."""

import dataclasses
import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loratune.spaces.params import LoraParams
from loratune.storage.reconcile import Add, Copy, End, Note, Present, Report, copies, reconcile
from loratune.storage.records import CurvePoint, TrialRecord

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PARAMS = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16)
STATES = ["running", "complete", "pruned", "diverged", "infeasible", "failed"]


def record(number, state, value=None):
    return TrialRecord(
        number=number,
        params=PARAMS,
        seed=0,
        source="tpe",
        state=state,
        reason=None if state in ("running", "complete") else f"why {number}",
        value=value if state == "complete" else None,
        quanta=0,
        attempt=0,
        checkpoint=None,
        adapter=None,
        started_at=AT,
        finished_at=None if state == "running" else AT,
    )


def point(trial, quantum, eval_loss):
    return CurvePoint(
        trial=trial,
        quantum=quantum,
        examples=quantum,
        train_loss=1.0,
        eval_loss=eval_loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens_per_second=1.0,
        memory_bytes=1,
        worker=0,
        started_at=AT,
        finished_at=AT,
    )


losses = st.floats(0.01, 20.0)


@st.composite
def studies(draw):
    """Trials with their curves, and a later moment of the same study."""
    count = draw(st.integers(0, 8))
    trials, later, points = [], [], []
    for number in range(count):
        state = draw(st.sampled_from(STATES))
        value = draw(losses)
        trials.append(record(number, state, value))
        end = draw(st.sampled_from(STATES)) if state == "running" else state
        later.append(record(number, end, value))
        quanta = draw(st.sets(st.integers(1, 8), max_size=4))
        points += [point(number, quantum, draw(st.none() | losses)) for quantum in quanta]
    return trials, later, points


class Optuna:
    """Optuna's tables as far as they matter here: numbers in order of arrival, an end is final."""

    def __init__(self):
        self.rows = []

    def present(self):
        return {
            row["attributes"]["loratune_number"]: Present(
                trial_id=index,
                ended=row["state"] != "running",
                steps=frozenset(row["steps"]),
                attributes=dict(row["attributes"]),
            )
            for index, row in enumerate(self.rows)
        }

    def apply(self, step):
        if isinstance(step, Add):
            copy = step.copy
            assert copy.number not in self.present(), "the same trial twice"
            self.rows.append(
                {
                    "state": copy.state,
                    "value": copy.value,
                    "steps": dict(copy.steps),
                    "attributes": dict(copy.attributes),
                }
            )
            return
        (row,) = [row for row in self.rows if row["attributes"]["loratune_number"] == step.number]
        assert row["state"] == "running", "a finished trial was changed"
        match step:
            case Report(step=quantum, value=value):
                assert quantum not in row["steps"], "the same loss twice"
                row["steps"][quantum] = value
            case Note(key=key, value=value):
                row["attributes"][key] = value
            case End(state=state, value=value):
                row["state"], row["value"] = state, value


def run(optuna, ours, stop=None):
    """Write what is lacking; ``stop`` is the number of commits after which the process is killed."""
    for step in reconcile(ours, optuna.present())[:stop]:
        optuna.apply(step)


def worst(points):
    return max((point.eval_loss for point in points if point.eval_loss is not None), default=0.0)


@given(studies(), st.lists(st.integers(0, 12), max_size=4), st.lists(st.integers(0, 12), max_size=4))
def test_killed_anywhere_and_repeated_it_ends_the_same(study, first_stops, later_stops):
    trials, later, points = study
    early, late = copies(trials, points, worst(points)), copies(later, points, worst(points))
    smooth, rough = Optuna(), Optuna()
    for ours, stops in ((early, first_stops), (late, later_stops)):
        run(smooth, ours)
        for stop in stops:
            run(rough, ours, stop)
        run(rough, ours)
        assert rough.rows == smooth.rows
        assert reconcile(ours, rough.present()) == ()
    ended = {trial.number: copy for trial, copy in zip(later, late, strict=True) if copy.state != "running"}
    rows = {row["attributes"]["loratune_number"]: row for row in rough.rows}
    assert ended.keys() <= rows.keys()
    for number, copy in ended.items():
        row = rows[number]
        assert (row["state"], row["value"], row["steps"]) == (copy.state, copy.value, dict(copy.steps))
        assert row["attributes"] == dict(copy.attributes)


@given(studies(), st.integers(0, 12))
def test_optunas_numbers_are_ours(study, stop):
    trials, later, points = study
    optuna = Optuna()
    run(optuna, copies(trials, points, worst(points)), stop)
    run(optuna, copies(later, points, worst(points)))
    numbers = [row["attributes"]["loratune_number"] for row in optuna.rows]
    assert numbers == list(range(len(numbers)))


@given(studies())
def test_only_ended_trials_and_those_before_them_are_told(study):
    trials, _, points = study
    optuna = Optuna()
    run(optuna, copies(trials, points, worst(points)))
    highest = max((trial.number for trial in trials if trial.state != "running"), default=-1)
    assert len(optuna.rows) == highest + 1


@given(studies())
def test_every_value_told_is_finite_and_a_missing_one_is_worse_than_all(study):
    _, later, points = study
    for trial, copy in zip(later, copies(later, points, worst(points)), strict=True):
        if trial.state == "running":
            assert copy.value is None
            continue
        assert math.isfinite(copy.value)
        assert all(math.isfinite(loss) for loss in copy.steps.values())
        if trial.state in ("diverged", "infeasible", "failed"):
            assert copy.state == "pruned"
            assert copy.value > worst(points)
            assert copy.steps[max(copy.steps)] == copy.value


@given(studies(), st.data())
def test_leaving_out_what_is_known_to_have_ended_changes_nothing(study, data):
    trials, later, points = study
    optuna = Optuna()
    run(optuna, copies(trials, points, worst(points)))
    ended = {number for number, present in optuna.present().items() if present.ended}
    every = copies(later, points, worst(points))
    pending = [copy for copy in every if copy.number not in ended]
    assert reconcile(pending, optuna.present()) == reconcile(every, optuna.present())


def test_a_pruned_trial_is_told_its_last_loss():
    (copy,) = copies([record(0, "pruned")], [point(0, 1, 3.0), point(0, 2, 2.5)], 3.0)
    assert (copy.state, copy.value, copy.steps) == ("pruned", 2.5, {1: 3.0, 2: 2.5})


def test_a_diverged_trial_is_told_where_it_fell():
    (copy,) = copies([record(0, "diverged")], [point(0, 1, 3.0), point(0, 3, None)], 4.0)
    assert (copy.state, copy.value, copy.steps) == ("pruned", 8.0, {1: 3.0, 3: 8.0})
    assert (copy.attributes["state"], copy.attributes["reason"]) == ("diverged", "why 0")


@pytest.mark.parametrize("state", STATES)
def test_attributes_are_plain_json(state):
    import json

    (copy,) = copies([record(3, state, 1.0)], [], 0.0)
    assert json.loads(json.dumps(copy.attributes)) == dict(copy.attributes)
    assert isinstance(copy, Copy)
    assert dataclasses.asdict(copy)["attributes"]["loratune_number"] == 3
