"""Every event in the words that a person reads."""

import typing

import pytest
from loratune.study import sentences
from loratune.study.events import (
    Event,
    Notice,
    SlotsLimited,
    StudyResumed,
    TrialEnded,
    TrialSetBack,
    WorkerLost,
    WorkerNotStarted,
)
from loratune.study.sentences import sentence


def set_back(recorded, kept):
    return TrialSetBack(trial=5, recorded=recorded, kept=kept, reason="5.safetensors: damaged")


def lost(*trials):
    return WorkerLost(worker=1, trials=trials, reason="worker 1 was killed")


def not_started(given_up):
    return WorkerNotStarted(worker=1, starts=3, given_up=given_up, reason="worker 1 said nothing")


SAID = [
    (TrialEnded(trial=3, state="complete", reason=None, value=1.5), "trial 3 complete: eval loss 1.5000"),
    (TrialEnded(trial=3, state="failed", reason="why", value=None), "trial 3 failed: why"),
    (set_back(0, 0), "trial 5 starts over: 5.safetensors: damaged"),
    (
        set_back(3, 0),
        "trial 5 starts over and repeats rounds 1 to 3, which the record has: 5.safetensors: damaged",
    ),
    (
        set_back(3, 2),
        "trial 5 goes on from round 2 and repeats round 3, which the record has: 5.safetensors: damaged",
    ),
    (StudyResumed(ended=0, running=(0,), trials=1), "resumed: 0 of 1 trial has ended, 1 goes on"),
    (StudyResumed(ended=3, running=(3, 4), trials=9), "resumed: 3 of 9 trials have ended, 2 go on"),
    (
        StudyResumed(ended=3, running=(3,), waiting=(1, 2), trials=9),
        "resumed: 3 of 9 trials have ended, 1 goes on, 2 wait for a place",
    ),
    (lost(), "worker 1 was killed"),
    (lost(4), "worker 1 was killed; its trial goes on from its last checkpoint"),
    (lost(4, 5), "worker 1 was killed; its 2 trials go on from their last checkpoints"),
    (not_started(given_up=False), "worker 1 said nothing; starting it again"),
    (not_started(given_up=True), "worker 1 is given up after 3 starts: worker 1 said nothing"),
    (
        SlotsLimited(worker=0, slots=1, reason="out of memory"),
        "memory ran out: at most 1 trial at once in a worker from now on",
    ),
    (Notice(about="device", text="as it is"), "as it is"),
]


@pytest.mark.parametrize(("event", "words"), SAID)
def test_an_event_is_told_in_one_line(event, words):
    assert sentence(event) == words


def test_every_kind_of_event_is_told_here_or_is_silent_of_a_purpose():
    silent = {"StudyStarted", "TrialStarted", "PointRecorded", "WorkerStarted", "StudyProgress", "StudyEnded"}
    told = {type(event).__name__ for event, _ in SAID}
    assert told | silent == {kind.__name__ for kind in typing.get_args(Event)}
    assert not told & silent


def test_notices_name_what_they_are_about():
    assert sentences.database_locked("tune.db", 31.4) == Notice(
        about="database", text="tune.db is locked by another program; waiting for it, 31 s by now"
    )
    assert sentences.space_exhausted(20, 1).text == (
        "the space is exhausted: 20 proposals in a row were of configurations tried before; "
        "the study ends with 1 trial"
    )
    assert sentences.made_elsewhere(["torch was 2, now 3", "cpu was a, now b"]).text.endswith(
        "in the last digits: torch was 2, now 3; cpu was a, now b"
    )
