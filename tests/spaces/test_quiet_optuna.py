"""Optuna is quiet while anyone of ours uses it, and then as loud as the caller had it."""

import re
import subprocess
from pathlib import Path

import optuna
import pytest
from loratune.spaces.quiet_optuna import quiet

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="loud", autouse=True)
def make_loud():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    yield optuna.logging.DEBUG
    optuna.logging.set_verbosity(before)


def test_the_first_who_leaves_takes_the_quiet_from_nobody_and_the_last_gives_back_what_was(loud):
    first, second = quiet(), quiet()  # as two threads, whose ends come in the order of their beginnings
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    second.__exit__(None, None, None)
    assert optuna.logging.get_verbosity() == loud
    optuna.logging.set_verbosity(optuna.logging.INFO)
    with quiet(), quiet():
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_an_error_inside_gives_it_back_as_well(loud):
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert optuna.logging.get_verbosity() == loud


def test_nobody_else_sets_it():
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    ours = [name for name in tracked if not name.startswith(("tests/", "benchmarks/"))]
    setting = re.compile(r"optuna\.logging\.(set|enable|disable)")
    found = [name for name in ours if setting.search((ROOT / name).read_text(encoding="utf-8"))]
    assert found == ["spaces/quiet_optuna.py"]
