"""What a plain training came to, through an event and back."""

import datetime
import json

import numpy as np
import pytest
from loratune.errors import StorageError
from loratune.study.plain_method import PlainMethod
from loratune.study.records import Evaluation, EventRecord
from loratune.study.yardstick import KIND, Yardstick, yardstick_of

LOSSES = np.array([0.1, 2.0 / 3.0, 1e-8], np.float32)
MADE = Yardstick(
    method=PlainMethod(name="freeze", layers=2, learning_rate=0.1 + 0.2),
    trial=0,
    trainable=7,
    evaluation=Evaluation(losses=LOSSES, tokens=np.array([1, 2, 3])),
    rounds=8,
    memory_bytes=2**31,
    seconds=1.25,
)


def event(detail):
    return EventRecord(at=datetime.datetime.now(datetime.UTC), kind=KIND, detail=detail)


def test_every_number_comes_back_to_the_bit():
    found = yardstick_of(event(json.loads(json.dumps(MADE.to_json()))))
    assert found.evaluation.losses.dtype == np.float32
    assert found.evaluation.losses.tobytes() == LOSSES.tobytes()
    assert found.evaluation.tokens.tolist() == [1, 2, 3]
    assert found.to_json() == MADE.to_json()
    assert found.method == MADE.method


@pytest.mark.parametrize("wrong", [{"losses": None}, {"method": {}}, {"seconds": "x"}])
def test_what_is_damaged_is_refused_in_one_line(wrong):
    with pytest.raises(StorageError, match="cannot be read; it is damaged"):
        yardstick_of(event({**MADE.to_json(), **wrong}))
