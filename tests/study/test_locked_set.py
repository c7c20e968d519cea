import datetime
import json

import numpy as np
import pytest
from loratune.errors import StorageError
from loratune.study.facts import Answers
from loratune.study.locked_set import KIND, detail_of, opening_of
from loratune.study.records import Evaluation, EventRecord

AT = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def test_what_the_test_set_said_is_read_back_to_the_bit():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 40, 60)
    found = {n: Evaluation(losses=rng.lognormal(1, 2, 60).astype(np.float32), tokens=tokens) for n in (0, 3)}
    detail = json.loads(json.dumps(detail_of(2, 7, "0f1e", found)))
    opening = opening_of(EventRecord(at=AT, kind=KIND, detail=detail))
    assert (opening.at, opening.opened, opening.recommended) == (AT, 2, 7)
    assert opening.evaluations.keys() == found.keys()
    for number, one in found.items():
        assert opening.evaluations[number].losses.tobytes() == one.losses.tobytes()
        assert opening.evaluations[number].tokens.tolist() == tokens.tolist()


def test_what_was_measured_beside_the_losses_is_read_back_too():
    found = {
        n: Evaluation(
            losses=np.ones(3, np.float32),
            tokens=np.array([2, 3, 4]),
            correct=np.array([n, 1, 2]),
            label_losses=np.array([[0.1, 0.7], [0.2, 0.3], [1.5, 2]], np.float32),
            marks=np.array([0, 1, 1 / 3], np.float32),
        )
        for n in (0, 3)
    }
    answers = Answers(labels=("yes", "no"), of_examples=(0, 1, 1))
    detail = detail_of(1, 7, "0f1e", found, answers, {0: 2 / 3, 3: 1 / 3})
    opening = opening_of(EventRecord(at=AT, kind=KIND, detail=json.loads(json.dumps(detail))))
    assert (opening.answers, opening.scores) == (answers, {0: 2 / 3, 3: 1 / 3})
    for number, one in found.items():
        for name in ("correct", "label_losses", "marks"):
            assert getattr(opening.evaluations[number], name).tobytes() == getattr(one, name).tobytes()


WHOLE = {"tokens": [2, 3], "losses": {"0": [0.5, 1]}, "opened": 1, "recommended": 0}


def test_one_of_before_has_losses_alone():
    opening = opening_of(EventRecord(at=AT, kind=KIND, detail=WHOLE))
    assert opening.evaluations[0].losses.tolist() == [0.5, 1]
    assert (opening.evaluations[0].marks, opening.scores, opening.answers) == (None, {}, Answers())


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {**WHOLE, "losses": []},
        {**WHOLE, "losses": None},
        {**WHOLE, "losses": {"0": None}},
        {**WHOLE, "losses": {"0": [0.5, None]}},
        {**WHOLE, "losses": {"0": [0.5]}},
        {**WHOLE, "losses": {"0": ["a", 1]}},
        {**WHOLE, "tokens": None},
        {**WHOLE, "tokens": [2, 3.5]},
        {**WHOLE, "marks": {"1": [1, 0]}},
        {**WHOLE, "marks": {"0": [1, None]}},
        {**WHOLE, "scores": {"0": None}},
        {**WHOLE, "right": [1]},
    ],
)
def test_one_that_cannot_be_read_says_so(detail):
    with pytest.raises(StorageError, match="the test set cannot be read"):
        opening_of(EventRecord(at=AT, kind=KIND, detail=detail))
