"""What a search tells its observers: all of the record, in its order, and nothing before it is committed."""

import dataclasses
from collections import Counter

from loratune.objectives.testing.fake import FakeFleet, FakePlan, Fault
from loratune.search.loop import run
from loratune.storage.store import Store
from loratune.study.events import (
    PointRecorded,
    StudyEnded,
    StudyProgress,
    StudyResumed,
    TrialEnded,
    TrialStarted,
    WorkerLost,
    WorkerStarted,
)

PLAN = FakePlan(slots=4)


def of(bench, kind):
    return [event for event in bench.onlooker.events if isinstance(event, kind)]


class Checking:
    """Holds every event against what another process can read at that moment."""

    def __init__(self, bench):
        self._bench = bench
        self.checked = Counter()

    def on_event(self, event):
        if not isinstance(event, TrialStarted | PointRecorded | TrialEnded | WorkerLost | StudyEnded):
            return
        with Store.open(str(self._bench.path), mode="read") as store:
            study = store.study("a").id
            trials = {trial.number: trial for trial in store.trials(study)}
            match event:
                case TrialStarted():
                    assert trials[event.trial].params == event.params
                    assert trials[event.trial].source == event.source
                case PointRecorded():
                    assert event.point in store.curve(study)
                    assert trials[event.point.trial].rounds == event.point.round
                case TrialEnded():
                    found = trials[event.trial]
                    assert (found.state, found.reason, found.value) == (
                        event.state,
                        event.reason,
                        event.value,
                    )
                case WorkerLost():
                    assert store.events(study, "worker")[-1].detail["trials"] == list(event.trials)
                case StudyEnded():
                    assert store.events(study, "finished")
        self.checked[type(event).__name__] += 1


def test_nothing_is_told_before_it_is_committed(bench) -> None:
    bench.create(10)
    plan = dataclasses.replace(PLAN, faults=(Fault(kind="die", nth=2),))
    bench.onlooker = checking = Checking(bench)
    bench.run(plan)
    assert checking.checked["TrialStarted"] == checking.checked["TrialEnded"] == 10
    assert checking.checked["PointRecorded"] == sum(map(len, bench.curves().values()))
    assert checking.checked["WorkerLost"] == checking.checked["StudyEnded"] == 1


def test_the_events_of_a_study_are_its_record(bench) -> None:
    bench.create(10)
    ended = bench.run(PLAN)
    trials = bench.trials()
    assert [(e.trial, e.params, e.source) for e in of(bench, TrialStarted)] == [
        (trial.number, trial.params, trial.source) for trial in trials
    ]
    told = {event.trial: event for event in of(bench, TrialEnded)}
    assert {number: (e.state, e.reason, e.value) for number, e in told.items()} == {
        trial.number: (trial.state, trial.reason, trial.value) for trial in trials
    }
    curves = {}
    for event in of(bench, PointRecorded):
        curves.setdefault(event.point.trial, []).append((event.point.train_loss, event.point.eval_loss))
    assert curves == bench.curves()
    assert of(bench, StudyEnded) == [ended]
    assert bench.onlooker.events[-1] is ended
    assert of(bench, WorkerStarted) == [WorkerStarted(worker=0)]
    assert of(bench, StudyResumed) == []


def test_a_search_that_dies_and_goes_on_tells_every_trial_once(bench) -> None:
    bench.create(10)
    assert bench.run(PLAN, crash=(25, True)) is None
    before = list(of(bench, TrialStarted))
    bench.run(PLAN)
    assert Counter(event.trial for event in of(bench, TrialStarted)) == dict.fromkeys(range(10), 1)
    (resumed,) = of(bench, StudyResumed)
    assert resumed.ended + len(resumed.running) == len(before)
    assert resumed.trials == 10


def test_every_observer_hears_the_same(bench) -> None:
    study = bench.create(4)
    listening = [type(bench.onlooker)(), type(bench.onlooker)()]
    with Store.open(str(bench.path), mode="write") as store:
        run(store, study, factory=FakeFleet(PLAN), observers=listening)
    assert listening[0].events == listening[1].events
    assert len(listening[0].events) > 4


def test_a_study_that_was_over_before_tells_its_end_alone(bench) -> None:
    bench.create(4)
    bench.run(PLAN)
    bench.onlooker.events.clear()
    bench.run(PLAN)
    assert [type(event) for event in bench.onlooker.events] == [StudyProgress, StudyEnded]
