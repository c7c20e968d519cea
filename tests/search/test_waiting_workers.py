"""True worker processes and a true base model: what waits goes on from its file as if it had never waited."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from loratune import app
from loratune.search.interrupt import StopSignal
from loratune.storage.store import Store
from loratune.study.events import StudyProgress

EXAMPLES = 512
TRIALS = 9


class Ending:
    """Asks for an end once trials wait, at another moment each time."""

    def __init__(self, stop: StopSignal, waiting: int) -> None:
        self._stop, self._waiting = stop, waiting

    def on_event(self, event: Any) -> None:
        if isinstance(event, StudyProgress) and len(event.waiting) >= self._waiting:
            self._stop.request()
            self._stop.request()  # at once: the round is dropped


def losses(study: str) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Return by trial and round what was measured, example by example."""
    with Store.open("tune.db", mode="read") as store:
        record = store.study(study)
        found: dict[tuple[int, int], tuple[Any, ...]] = {}
        points = {(point.trial, point.round): point for point in store.curve(record.id)}
        for round_number in (1, 2, 4, 8):
            for trial, measured in store.evaluations(record.id, round_number).items():
                each = np.asarray(measured.losses, dtype=np.float32).tobytes()
                found[trial, round_number] = (each, points[trial, round_number].train_loss)
        for key, point in points.items():
            found.setdefault(key, (point.train_loss, point.grad_norm))
        return found


def options(study: str, pruner: str) -> app.SearchOptions:
    # Proposed whatever became of the others, so that both studies train the same.
    return app.SearchOptions(study=study, trials=TRIALS, examples=EXAMPLES, sampler="random", pruner=pruner)


def resumed(study: str, run: app.RunOptions) -> int:
    """Run a study with an end asked for again and again; return how often it was begun."""
    for times in itertools.count(1):
        stop = StopSignal()
        ending = Ending(stop, waiting=2 + times) if times < 4 else Ending(stop, waiting=99)
        done = (
            app.start(options(study, "promote"), run, observers=[ending], stop=stop)
            if times == 1
            else app.resume(study, run, observers=[ending], stop=stop)
        )
        if done.ended.why == "complete":
            return times
    raise AssertionError("it ends")


@pytest.fixture
def here(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda: None


def test_a_trial_that_waited_has_the_losses_of_one_that_never_did_to_the_last_bit(here: Any) -> None:
    app.start(options("whole", "none"), app.RunOptions(workers=1, slots=3))
    assert resumed("paused", app.RunOptions(workers=1, slots=2)) > 1
    whole, paused = losses("whole"), losses("paused")
    with Store.open("tune.db", mode="read") as store:
        trials = store.trials(store.study("paused").id)
    assert {trial.state for trial in trials} <= {"complete", "pruned", "diverged"}
    assert len({trial.rounds for trial in trials}) >= 3
    assert len(paused) == sum(trial.rounds for trial in trials)
    assert paused == {key: whole[key] for key in paused}
