"""The fault program finds what it looks for, and a short round of it finds nothing."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "faults.py"


@pytest.fixture(scope="module")
def part(load_benchmark: Callable[[str], ModuleType]) -> Callable[[str], Any]:
    """Import a part of the program: ``part("record")``."""
    load_benchmark("faults")
    return lambda name: importlib.import_module(f"fault_parts.{name}")


def make_record(part: Callable[[str], Any], numbers: range = range(3), **changes: Any) -> Any:
    record = part("record")
    trials = {
        number: record.TrialFacts(
            configuration=f"configuration {number}",
            outcome='["complete", null, "0x1p+1", 8]',
            rounds=tuple((round_number, "0x1p+1") for round_number in range(1, 9)),
            evaluations=((1, "digest"), (2, "digest")),
            adapter=None,
        )
        for number in numbers
    }
    values = {"wanted": 3, "trials": trials, "running": (), "repeated": 0, "owned": False, "lying": ()}
    values["optuna"] = tuple((number, "COMPLETE", 2.0) for number in numbers)
    return record.Record(**{**values, **changes})


def changed(record: Any, number: int, **values: Any) -> Any:
    trials = {**record.trials, number: dataclasses.replace(record.trials[number], **values)}
    return dataclasses.replace(record, trials=trials)


def counts(part: Callable[[str], Any], found: Any) -> tuple[int, int, int, int]:
    compared = part("record").compare(make_record(part), found)
    assert bool(compared.words) == any(
        (compared.lost, compared.doubled, compared.running, compared.differing)
    )
    return compared.lost, compared.doubled, compared.running, compared.differing


def test_a_study_is_as_itself(part):
    assert counts(part, make_record(part)) == (0, 0, 0, 0)


def test_what_is_lost_is_counted(part):
    assert counts(part, make_record(part, range(2), optuna=make_record(part).optuna)) == (1, 0, 0, 0)
    shorter = changed(make_record(part), 1, rounds=((1, "0x1p+1"),))
    assert counts(part, shorter) == (1, 0, 0, 1)


def test_what_is_doubled_is_counted(part):
    assert counts(part, make_record(part, range(4), optuna=make_record(part).optuna)) == (0, 1, 0, 0)
    assert counts(part, make_record(part, repeated=2)) == (0, 2, 0, 0)
    twice = make_record(part).optuna
    assert counts(part, make_record(part, optuna=(*twice, twice[0]))) == (0, 1, 0, 0)


def test_what_is_left_is_counted(part):
    assert counts(part, make_record(part, running=(2,))) == (0, 0, 1, 0)
    assert counts(part, make_record(part, owned=True)) == (0, 0, 1, 0)
    assert counts(part, make_record(part, lying=("checkpoints/trial-00001-q3-a0.safetensors",))) == (
        0,
        0,
        1,
        0,
    )
    waiting = (*make_record(part).optuna[:2], (2, "RUNNING", None))
    assert counts(part, make_record(part, optuna=waiting)) == (0, 0, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": "another"},
        {"outcome": '["pruned", "why", null, 8]'},
        {"rounds": tuple((round_number, "0x1.0000000000001p+1") for round_number in range(1, 9))},
        {"evaluations": ((1, "digest"), (2, "another"))},
        {"adapter": "digest"},
    ],
)
def test_what_differs_in_its_last_bit_is_counted(part, change):
    assert counts(part, changed(make_record(part), 1, **change)) == (0, 0, 0, 1)


def test_an_earlier_state_is_told_from_another_one(part):
    earlier, whole = part("record").earlier, make_record(part)
    assert earlier(whole, whole)
    assert earlier(make_record(part, range(2)), whole)
    shorter = changed(whole, 1, rounds=whole.trials[1].rounds[:3], outcome='["running", null, null, 3]')
    assert earlier(dataclasses.replace(shorter, running=(1,)), whole)
    assert not earlier(shorter, whole)
    assert not earlier(make_record(part, range(4)), whole)
    for change in ({"configuration": "another"}, {"evaluations": ((1, "another"),)}, {"adapter": "digest"}):
        assert not earlier(changed(whole, 1, **change), whole)


@pytest.mark.parametrize("way", ["a bit flipped", "4 KiB zeroed", "cut short", "deleted"])
def test_a_damage_is_never_none(part, way):
    damage, rng = part("damage"), random.Random(0)
    for content in (b"\0" * 9000, b"\0" * 8999 + b"x", os.urandom(9000), b"x"):
        for _ in range(20):
            assert damage.damaged(content, way, rng) != content
    assert way in damage.WAYS


def test_the_table_shows_each_kind_and_what_was_skipped(part):
    tally = part("tally")
    kinds = [
        tally.Tally(kind="search killed", times=9, seconds=[1.0, 2.0, 9.0]),
        tally.Tally(kind="disk full", skipped="no disk"),
    ]
    assert tally.table(kinds).splitlines()[2:] == [
        "| search killed | 9 | 0 | 0 | 0 | 0 | 0 | 0 | 2.0 |",
        "| disk full | skipped: no disk | | | | | | | |",
    ]
    assert all(kind.good for kind in kinds)
    for field in ("lost", "doubled", "running", "differing", "tracebacks", "broken"):
        assert not tally.Tally(kind="search killed", **{field: 1}).good


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see processes")
def test_a_short_round_of_faults_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--quick", f"--folder={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    struck = [line["fault"] for line in lines if "fault" in line]
    assert sum(fault.startswith("search killed") for fault in struck) == 3
    assert sum(fault.startswith("worker killed") for fault in struck) == 1
    assert sum("damaged and read" in fault for fault in struck) == 200
    assert done.stdout.splitlines()[-1].startswith("| database's log (-wal) damaged and read | 20 |")
