"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for room in ("app", "command", "objectives", "reports", "search", "spaces", "storage")
    for path in (ROOT / room).glob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_there_are_examples():
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_a_module_run(module):
    result = doctest.testmod(importlib.import_module(f"loratune.{module}"))
    assert result.attempted > 0
    assert result.failed == 0
