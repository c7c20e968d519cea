import datetime
import json

import numpy as np
import pytest
from loratune.errors import StorageError
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


@pytest.mark.parametrize("detail", [{}, {"tokens": [1], "losses": [], "opened": 1, "recommended": 0}])
def test_one_that_cannot_be_read_says_so(detail):
    with pytest.raises(StorageError, match="the test set cannot be read"):
        opening_of(EventRecord(at=AT, kind=KIND, detail=detail))
