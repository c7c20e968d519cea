"""A trial as Optuna is told of it: what was measured, and nothing that was not."""

import datetime
import json

import pytest
from loratune.spaces.params import LoraParams
from loratune.storage.to_optuna import to_optuna
from loratune.study.records import FINAL_STATES, TrialRecord

AT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PARAMS = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16)


def record(number, state, value=None):
    return TrialRecord(
        number=number,
        params=PARAMS,
        seed=0,
        source="tpe",
        state=state,
        reason=None if state in ("running", "complete") else f"why {number}",
        value=value if state == "complete" else None,
        rounds=0,
        attempt=0,
        checkpoint=None,
        adapter=None,
        started_at=AT,
        finished_at=None if state == "running" else AT,
    )


LOSSES = {1: 3.0, 2: 2.5, 3: None}


@pytest.mark.parametrize("state", ["pruned", "diverged", "infeasible", "failed"])
def test_a_trial_that_was_stopped_is_told_its_last_loss_that_was_measured(state):
    copy = to_optuna(record(0, state), LOSSES)
    assert copy.steps == {1: 3.0, 2: 2.5}
    # Optuna takes no value of a failed trial.
    assert (copy.state, copy.value) == (("failed", None) if state == "failed" else ("pruned", 2.5))
    assert (copy.attributes["state"], copy.attributes["reason"]) == (state, "why 0")


def test_a_complete_trial_is_told_its_value():
    copy = to_optuna(record(0, "complete", 1.25), LOSSES)
    assert (copy.state, copy.value, copy.steps) == ("complete", 1.25, {1: 3.0, 2: 2.5})
    assert "reason" not in copy.attributes


@pytest.mark.parametrize("state", FINAL_STATES)
def test_attributes_are_plain_json_with_our_number_and_every_hyperparameter(state):
    copy = to_optuna(record(3, state, 1.0), {})
    assert json.loads(json.dumps(copy.attributes)) == dict(copy.attributes)
    assert copy.attributes["loratune_number"] == copy.number == 3
    assert copy.attributes["params"] == PARAMS.to_dict()
    assert copy.steps == {}
