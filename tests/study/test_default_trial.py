"""The default configuration is known by its hyperparameters."""

from types import SimpleNamespace

import pytest
from loratune.study.default_trial import default_trial

STUDY = SimpleNamespace(config=SimpleNamespace(first=("default", "enqueued")))


def trials(*params):
    return [SimpleNamespace(number=number, params=one) for number, one in enumerate(params)]


@pytest.mark.parametrize(
    ("params", "number"),
    [
        (("default", "b"), 0),
        (("b", "enqueued", "default", "default"), 2),
        (("b", "enqueued"), None),
        ((), None),
    ],
)
def test_it_is_the_first_trial_that_has_it(params, number):
    found = default_trial(STUDY, trials(*params))
    assert (None if found is None else found.number) == number
