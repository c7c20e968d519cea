import pytest
from loratune import errors
from loratune.errors import LoratuneError, UsageError, nearest, shown


def test_every_error_belongs_to_the_one_tree():
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert len(found) > 10
    assert all(issubclass(one, LoratuneError) for one in found)


def test_wrong_usage_ends_with_2_and_the_rest_with_1():
    assert (UsageError.exit_code, errors.SpaceError.exit_code, errors.StudyBusy.exit_code) == (2, 1, 1)


def test_the_nearest_name_is_offered_and_a_far_one_is_not():
    assert nearest("lora_rnk", ["lora_rank", "batch_size"]) == " (did you mean 'lora_rank'?)"
    assert nearest("zzz", ["lora_rank", "batch_size"]) == ""


LONG = {
    "text": "x" * 10_000,
    "list": list(range(10_000)),
    "number": 10**5000,
    "lines": "a\nb",
    "mapping": {"k" * 500: ["v" * 500] * 50},
    "nested": [[["deep"] * 9] * 9] * 9,
}


@pytest.mark.parametrize("kind", LONG)
def test_any_value_is_shown_short_and_on_one_line(kind):
    words = shown(LONG[kind])
    assert 0 < len(words) <= 120
    assert "\n" not in words


def test_an_ordinary_value_is_shown_as_it_is():
    assert [shown(value) for value in (8, 1e-5, "cosine", True, None)] == [
        "8",
        "1e-05",
        "'cosine'",
        "True",
        "None",
    ]
