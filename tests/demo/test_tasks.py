"""The instruction data: what a reader and a trainer may count on."""

from __future__ import annotations

import datetime
import itertools
import json
import re

import pytest
from loratune.demo import data_path
from loratune.demo.build import RECORDS, SEED, build_data
from loratune.demo.logbook import documents
from loratune.demo.tasks import JOBS, records
from loratune.demo.world import BOATS, GOODS, MONTHS, spoken_time


@pytest.fixture(scope="module")
def shipped():
    return [json.loads(line) for line in data_path().read_text(encoding="utf-8").splitlines()]


def test_the_shipped_data_is_what_its_seed_gives_byte_for_byte(tmp_path):
    assert build_data(tmp_path, seed=SEED).read_bytes() == data_path().read_bytes()


def test_another_seed_gives_other_records():
    assert records(1, 100) != records(0, 100)


def test_every_record_is_different_and_whole(shipped):
    assert len(shipped) == RECORDS
    assert len({(record["instruction"], record["input"]) for record in shipped}) == RECORDS
    for record in shipped:
        assert set(record) == {"instruction", "input", "output"}
        assert all(value and value == value.strip() for value in record.values())


def test_the_same_question_never_has_two_answers(shipped):
    answers = {}
    for record in shipped:
        answers.setdefault((record["instruction"], record["input"]), set()).add(record["output"])
    assert all(len(found) == 1 for found in answers.values())


def test_every_job_appears():
    assert len({record["instruction"] for record in records(3, 240)}) >= len(JOBS)


def _of(shipped, instruction):
    found = [record for record in shipped if record["instruction"] == instruction]
    assert len(found) > 50
    return found


def test_dates_are_right(shipped):
    for record in _of(shipped, "Write the date in numbers."):
        day, month, year = re.search(r"(\d+) (\w+) (\d+)\.$", record["input"]).groups()
        date = datetime.date(int(year), MONTHS.index(month) + 1, int(day))
        assert record["output"] == f"date / {date}"


def test_sums_are_right(shipped):
    for record in _of(shipped, "Add the cargo."):
        one, other = (int(number) for number in re.findall(r"\d+", record["input"]))
        assert record["output"].endswith(f"x {one} + {other} = {one + other}")


def test_the_first_boat_is_the_one_with_the_earlier_time(shipped):
    for record in _of(shipped, "Which boat was first?"):
        calls = re.findall(r"The (\w+) (?:came in|left) at (\d\d:\d\d)", record["input"])
        name, time = min(calls, key=lambda call: call[1])
        assert record["output"] == f"first / {name} / {time}"


def test_a_slip_repeats_what_the_sentence_says(shipped):
    for record in _of(shipped, "Fill in a slip."):
        boat, way, time, cargo = record["output"].split(" / ")
        goods, count = cargo.split(" x ")
        assert boat.removeprefix("boat ") in record["input"]
        assert way.removeprefix("in from ").removeprefix("out to ") in record["input"]
        assert way.startswith("in from") == bool(re.search("came in|brought|tied up", record["input"]))
        assert time.removeprefix("time ") in record["input"]
        assert f"{count} {GOODS[goods]} of {goods}" in record["input"]


@pytest.mark.parametrize(
    ("minute", "words"),
    [
        (460, "twenty to eight in the morning"),
        (720, "twelve o'clock in the afternoon"),
        (795, "a quarter past one in the afternoon"),
        (1110, "half past six in the evening"),
        (1435, "five to twelve in the evening"),
    ],
)
def test_times_are_said_as_people_say_them(minute, words):
    assert spoken_time(minute) == words


def test_what_the_answers_need_is_in_the_pretraining_text_and_the_answers_are_not():
    text = "\n".join(itertools.islice(documents(0, "train"), 2000))
    for boat in BOATS:
        assert boat.name in text
        assert boat.master in text
    assert not [record for record in records(0, 1000) if record["output"] in text]


def test_boats_and_masters_are_told_apart():
    assert len({boat.name for boat in BOATS}) == len({boat.master for boat in BOATS}) == len(BOATS) == 24
