"""How a model is trained plainly: what makes sense, and under which name its state lies."""

import pytest
from loratune.errors import UsageError
from loratune.study.plain_method import PlainMethod


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"name": "half", "learning_rate": 1e-3}, "method: 'half'"),
        ({"name": "full", "layers": 2, "learning_rate": 1e-3}, "freeze_layers: 2 says nothing"),
        ({"name": "freeze", "learning_rate": 1e-3}, "freeze_layers: None is not at least 1"),
        ({"name": "freeze", "layers": 0, "learning_rate": 1e-3}, "freeze_layers: 0"),
        ({"name": "full", "learning_rate": 0.0}, "learning_rate: 0.0 is not above 0"),
        ({"name": "full", "learning_rate": float("nan")}, "learning_rate: nan"),
        ({"name": "full", "learning_rate": float("inf")}, "learning_rate: inf"),
    ],
)
def test_what_makes_no_sense_is_refused(choices, words):
    with pytest.raises(UsageError, match=words):
        PlainMethod(**choices)


def test_each_choice_has_a_state_of_its_own():
    choices = [
        PlainMethod(name="full", learning_rate=1e-3),
        PlainMethod(name="full", learning_rate=1.0000000001e-3),
        PlainMethod(name="freeze", layers=2, learning_rate=1e-3),
        PlainMethod(name="freeze", layers=1, learning_rate=1e-3),
    ]
    assert len({one.state_name for one in choices}) == 4
    assert choices[2].state_name == "freeze-2-0.001.safetensors"
