"""``--json`` of a search: every event is a line, and standard output has nothing else."""

import dataclasses
import datetime
import json
import re
import typing
from pathlib import Path

import pytest
from loratune.command import json_lines, pace
from loratune.command.json_lines import JsonLines, line, name_of
from loratune.spaces.params import LoraParams
from loratune.study.events import (
    Event,
    Notice,
    PointRecorded,
    StudyProgress,
    TrialProgress,
    TrialStarted,
    WaitingTrial,
)
from loratune.study.records import CurvePoint

AT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
PARAMS = LoraParams(learning_rate=1e-3, batch_size=8, lora_rank=8, lora_alpha=16.0)
PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_a_line_has_the_name_the_moment_and_every_field():
    found = json.loads(line(TrialStarted(trial=3, params=PARAMS, source="tpe"), AT))
    assert found == {
        "event": "trial_started",
        "at": "2026-01-02T03:04:05+00:00",
        "trial": 3,
        "params": PARAMS.to_dict(),
        "source": "tpe",
    }


def test_moments_and_numbers_that_were_not_finite_have_a_form(capsys):
    point = CurvePoint(
        trial=3,
        round=1,
        examples=96,
        train_loss=None,
        eval_loss=None,
        learning_rate=1e-3,
        grad_norm=None,
        tokens_per_second=12.5,
        memory_bytes=1024,
        worker=0,
        started_at=AT,
        finished_at=AT,
    )
    JsonLines().on_event(PointRecorded(point=point))
    found = json.loads(capsys.readouterr().out)["point"]
    assert found["train_loss"] is None
    assert found["finished_at"] == "2026-01-02T03:04:05+00:00"
    assert found.keys() == {field.name for field in dataclasses.fields(CurvePoint)}


def test_whatever_a_text_holds_a_line_is_one_line_of_the_same_text(capsys):
    text = "a\nb\u2028c\x1b[31m \u202e \ud800"
    JsonLines().on_event(Notice(about="device", text=text))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert json.loads(out)["text"] == text


@pytest.fixture
def progress():
    return StudyProgress(
        study="a",
        trials=4,
        varied=(),
        counts={"running": 0},
        running=(),
        best=None,
        base_loss=6.0,
        tokens_per_second=0.0,
        memory_bytes=0,
        trials_per_hour=None,
        seconds_left=None,
        elapsed=0.0,
    )


def test_where_a_search_stands_is_told_now_and_then(capsys, monkeypatch, progress):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    lines = JsonLines()
    lines.on_event(progress)
    assert capsys.readouterr().out == ""
    now[0] += pace.PLAIN_SECONDS
    lines.on_event(progress)
    lines.on_event(progress)
    (only,) = capsys.readouterr().out.splitlines()
    assert json.loads(only)["event"] == "study_progress"


@pytest.mark.parametrize("error", [json_lines.ReaderGone, OSError(28, "No space left on device")])
def test_a_search_goes_on_where_nobody_reads_any_more(monkeypatch, error):
    tried = []

    def emit(text):
        tried.append(json.loads(text)["text"])
        raise error

    monkeypatch.setattr(json_lines, "emit", emit)
    JsonLines().on_event(Notice(about="device", text="a"))
    assert tried == ["a"]


def test_the_page_names_every_event_and_every_field_of_it():
    page = PAGE.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    kinds = {name_of(kind): kind for kind in typing.get_args(Event)}
    assert sections.keys() == kinds.keys()
    inner = {"point_recorded": (CurvePoint,), "study_progress": (TrialProgress, WaitingTrial)}
    for name, kind in kinds.items():
        fields = [field.name for field in dataclasses.fields(kind)]
        for one in inner.get(name, ()):
            fields += [field.name for field in dataclasses.fields(one)]
        told = re.findall(r"^(?:  )?- `(\w+)`", sections[name], re.MULTILINE)
        assert sorted(told) == sorted(fields), name


def test_the_page_shows_lines_as_they_are():
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown = [json.loads(one) for one in example.splitlines()]
    kinds = {name_of(kind): kind for kind in typing.get_args(Event)}
    for one in shown:
        assert list(one)[:2] == ["event", "at"]
        assert list(one)[2:] == [field.name for field in dataclasses.fields(kinds[one["event"]])]


def test_a_search_and_a_resume_print_lines_alone(tune, small):
    first = tune("search", "--trials=3", "--json", *small)
    assert first.code == 0, first.err
    events = [json.loads(one) for one in first.out.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "study_started"
    assert names[-1] == "study_ended"
    assert names.count("trial_started") == names.count("trial_ended") == 3
    assert events[-1]["why"] == "complete"
    assert "done: " in first.err
    more = tune("resume", "--trials=4", "--json")
    assert more.code == 0, more.err
    events = [json.loads(one) for one in more.out.splitlines()]
    assert [event["trial"] for event in events if event["event"] == "trial_ended"] == [3]
    assert sum(event["event"] == "study_resumed" for event in events) == 1
