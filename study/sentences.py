"""What happened, in one line for a person: the only place where events become sentences.

Nothing reads these again; a program takes the events themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..nouns import numbered
from .events import (
    Event,
    Notice,
    PointRecorded,
    SlotsLimited,
    StudyEnded,
    StudyProgress,
    StudyResumed,
    StudyStarted,
    TrialEnded,
    TrialSetBack,
    TrialStarted,
    WorkerLost,
    WorkerNotStarted,
    WorkerStarted,
)


def sentence(event: Event) -> str | None:
    """Return an event in one line; None for one that a person is not told of as it happens."""
    match event:
        case TrialEnded():
            what = f"eval loss {event.value:.4f}" if event.value is not None else str(event.reason)
            what += "" if event.score is None else f", score {event.score:.4f}"
            return f"trial {event.trial} {event.state}: {what}"
        case TrialSetBack():
            return f"trial {event.trial} {_set_back(event)}: {event.reason}"
        case StudyResumed():
            total, going = event.trials, len(event.running)
            waiting = len(event.waiting)
            wait = f", {waiting} {'waits' if waiting == 1 else 'wait'} for a place" if waiting else ""
            return (
                f"resumed: {event.ended} of {numbered(total, 'trial')} {'has' if total == 1 else 'have'} "
                f"ended, {going} {'goes' if going == 1 else 'go'} on{wait}"
            )
        case WorkerLost():
            return f"{event.reason}{_going_on(len(event.trials))}"
        case WorkerNotStarted(given_up=False):
            return f"{event.reason}; starting it again"
        case WorkerNotStarted():
            return (
                f"worker {event.worker} is given up after {numbered(event.starts, 'start')}: {event.reason}"
            )
        case SlotsLimited():
            return f"memory ran out: at most {numbered(event.slots, 'trial')} at once in a worker from now on"
        case Notice():
            return event.text
        case StudyStarted() | TrialStarted() | PointRecorded() | WorkerStarted():
            return None
        case StudyProgress() | StudyEnded():
            return None


def ending() -> Notice:
    """Say that a search which was asked to end does so at a boundary."""
    return Notice(about="ending", text="ending: at the next boundary if that is near; asked again, at once")


def database_locked(url: str, seconds: float) -> Notice:
    """Say that another program has held the database for so long."""
    text = f"{url} is locked by another program; waiting for it, {seconds:.0f} s by now"
    return Notice(about="database", text=text)


def name_taken_in_optuna(name: str, copy: str) -> Notice:
    """Say that Optuna's tables have another's study of that name, and how ours is called there."""
    text = (
        f"Optuna's tables have a study {name!r} that is not of loratune and is left as it is; "
        f"this one is {copy!r} there"
    )
    return Notice(about="optuna", text=text)


def made_elsewhere(changes: Sequence[str]) -> Notice:
    """Say how the machine or the build differs from those that the study was made on."""
    text = f"the study was made elsewhere, so its trials may differ in the last digits: {'; '.join(changes)}"
    return Notice(about="environment", text=text)


def space_exhausted(proposals: int, trials: int) -> Notice:
    """Say that so many proposals in a row were no news, so that the study ends with so many trials."""
    text = (
        f"the space is exhausted: {proposals} proposals in a row were of configurations tried before; "
        f"the study ends with {numbered(trials, 'trial')}"
    )
    return Notice(about="space", text=text)


def longer_than_searched(examples: int, searched: int) -> Notice:
    """Say that a configuration is trained much longer than it was searched at."""
    text = (
        f"this is {examples / searched:.0f} times as long as the {numbered(searched, 'example')} that the "
        "configuration was searched at: the best learning rate falls as trials get longer, so its own may be "
        "too high; tune search --examples-in-all N, or --hours H, searches on the way to a full run "
        "(docs/search.md)"
    )
    return Notice(about="length", text=text)


def everything_tried(sampler: str, trials: int) -> Notice:
    """Say that a sampler has nothing left to try, so that the study ends with so many trials."""
    text = f"sampler {sampler}: every point of it was tried; the study ends with {numbered(trials, 'trial')}"
    return Notice(about="space", text=text)


def _set_back(event: TrialSetBack) -> str:
    recorded, kept = event.recorded, event.kept
    what = f"goes on from round {kept}" if kept else "starts over"
    if not recorded:
        return what
    again = f"round {recorded}" if kept == recorded - 1 else f"rounds {kept + 1} to {recorded}"
    return f"{what} and repeats {again}, which the record has"


def _going_on(trials: int) -> str:
    if not trials:
        return ""
    if trials == 1:
        return "; its trial goes on from its last checkpoint"
    return f"; its {trials} trials go on from their last checkpoints"
