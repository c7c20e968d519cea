"""Searches that climb, on pretended workers, and what was heard and spent of them."""

from __future__ import annotations

from fake_processes import Worker
from loratune import app
from loratune.app import workers
from loratune.study.events import PointRecorded, StudyStarted

GIVEN = 20_000
ONE = app.RunOptions(workers=1)


class Heard:
    """Notes what begins, and asks for an end after so many points."""

    def __init__(self, stop=None, after=None):
        self.studies, self.points = [], 0
        self.stop, self.after = stop, after

    def on_event(self, event):
        if isinstance(event, StudyStarted):
            self.studies.append(event.study)
        if isinstance(event, PointRecorded):
            self.points += 1
            if self.points == self.after:
                self.stop.request()


def in_a_folder(path, monkeypatch):
    """Be in a folder without studies, with workers that train nothing."""
    monkeypatch.chdir(path)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.setattr(workers, "ProcessWorker", Worker)


def search(**values):
    return app.SearchOptions(examples_in_all=GIVEN, seed=3, **values)


def trained(store, name):
    study = store.study(name)
    return len(store.curve(study.id)) * study.facts.budget.round_examples
