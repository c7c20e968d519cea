import pytest
from loratune import errors
from loratune.errors import LoratuneError, UsageError, in_words, nearest, shown


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


def test_an_error_that_nobody_foresaw_is_its_kind_and_its_text_on_one_line():
    assert in_words(ValueError("two\n  lines")) == "ValueError: two lines"
    assert in_words(MemoryError()) == "MemoryError"
    caught = ValueError("first")
    caught.__cause__ = KeyError("second")
    assert in_words(caught) == "ValueError: first"


def test_of_an_import_that_failed_the_first_cause_comes_first():
    said = ModuleNotFoundError("Could not import module 'modeling_utils'.")
    said.__cause__ = ImportError("half a package")
    said.__cause__.__cause__ = RuntimeError("operator torchvision::nms does not exist")
    assert in_words(said) == (
        "RuntimeError: operator torchvision::nms does not exist "
        "(ModuleNotFoundError: Could not import module 'modeling_utils'.)"
    )
