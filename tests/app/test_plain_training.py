"""What LoRA is measured against: which trial, at which rate, what is refused, and what is recorded."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from fake_processes import Worker, studies, study, trials
from loratune import app
from loratune.app import plain_training, workers
from loratune.errors import ModelError, OutOfMemory, ReportError, StorageError, UsageError, WorkerError
from loratune.objectives.base import Done, SlotFailed, SlotResult, WorkerFailed
from loratune.storage.store import Store
from loratune.storage.study_files import PLAIN
from loratune.study.yardstick import KIND, yardstick_of

SEARCH = {"trials": 6, "study": "a", "examples": 128, "set": {"batch_size": [4, 8]}, "storage": "a.db"}
ONE = app.RunOptions(workers=1)


class PlainWorker:
    """Stands for the process that trains plainly; tells made-up numbers, and remembers what it was told."""

    last = None
    ends = None

    def __init__(self):
        self.round = 0
        self.closed = False
        PlainWorker.last = self

    def prepare(self, config):
        self.config = config

    def add(self, trial, params, *, seed, attempt, resume_from):
        self.added = (trial, params, seed, resume_from)

    def start(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / self.config.plain.state_name).write_text(str(self.round))
        self.round += 1

    def poll(self, _):
        if self.ends is not None and self.round == 3:
            return self.ends
        budget = self.config.found.budget
        result = SlotResult(
            trial=0,
            round=self.round,
            examples=0,
            train_loss=1.0,
            learning_rate=1e-3,
            grad_norm=1.0,
            eval_losses=(2.0,) * budget.eval_examples,
            diverged=None,
            tokens=1,
            final_losses=(3.0,) * budget.final_eval_examples if self.round == 8 else None,
            trainable=1234,
        )
        return Done(results=(result,), seconds=10.0 * self.round, memory_bytes=99)

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "ProcessWorker", Worker)
    monkeypatch.setattr(plain_training, "make_plain_worker", lambda *_, **__: PlainWorker())
    monkeypatch.setattr(PlainWorker, "ends", None)
    monkeypatch.setattr(PlainWorker, "last", None)
    app.start(app.SearchOptions(**SEARCH), ONE)


def plainly(name=None, method="full", **options):
    return app.train_plainly(name, method=method, storage="a.db", **options)


def refused(kind, name=None, **options):
    """Train, and return the complaint; nothing may be recorded, and nobody left at work."""
    before = [len(events(one)) for one in studies()]
    with pytest.raises(kind) as caught:
        plainly(name, **options)
    assert [len(events(one)) for one in studies()] == before
    assert PlainWorker.last is None or PlainWorker.last.closed
    with Store.open("a.db", mode="read") as store:
        assert all(store.lease(store.study(one).id) is None for one in studies())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def events(name):
    with Store.open("a.db", mode="read") as store:
        return store.events(store.study(name).id, KIND)


def test_it_is_trained_as_the_trial_was_at_a_tenth_of_its_rate_and_recorded_with_it():
    app.train("a", ONE, storage="a.db", examples=512)
    done = plainly("a")
    (trial,) = trials("a.train")
    assert PlainWorker.last.added == (0, trial.params, trial.seed, None)
    assert PlainWorker.last.closed
    config = PlainWorker.last.config
    assert config.plain.learning_rate == pytest.approx(trial.params.learning_rate / 10)
    assert config.found == study("a.train").facts
    assert config.stopping == study("a.train").config.objective.stopping
    assert (done.study, done.known) == ("a.train", False)
    (event,) = events("a.train")
    found = yardstick_of(event)
    assert (found.trainable, found.seconds, found.memory_bytes, found.rounds) == (1234, 80.0, 99, 8)
    assert found.evaluation.tokens.tolist() == list(study("a.train").facts.eval_tokens)
    assert set(found.evaluation.losses.tolist()) == {3.0}


def test_its_state_goes_when_it_is_recorded():
    app.train("a", ONE, storage="a.db", examples=512)
    plainly("a")
    assert list(Path("a-artifacts").glob(f"*/{PLAIN}/*")) == []


def test_asked_for_again_it_is_known_and_other_choices_are_another_run():
    app.train("a", ONE, storage="a.db", examples=512)
    plainly("a")
    PlainWorker.last = None
    again = plainly("a.train")
    assert again.known
    assert PlainWorker.last is None
    plainly("a", learning_rate=1e-3)
    plainly("a", method="freeze")
    plainly("a", method="freeze", freeze_layers=3)
    methods = [yardstick_of(event).method for event in events("a.train")]
    assert [(one.name, one.layers) for one in methods] == [
        ("full", None),
        ("full", None),
        ("freeze", 2),
        ("freeze", 3),
    ]


def test_of_a_search_the_latest_full_length_is_meant():
    app.train("a", ONE, storage="a.db", examples=512)
    app.train("a", ONE, storage="a.db", examples=1024)
    assert plainly("a").study == "a.train-2"
    assert plainly("a.train").study == "a.train"


def test_what_died_leaves_a_state_that_the_same_call_goes_on_from(monkeypatch):
    app.train("a", ONE, storage="a.db", examples=512)
    monkeypatch.setattr(PlainWorker, "ends", WorkerFailed(reason="worker 0 was killed by SIGKILL"))
    assert "was killed by SIGKILL; the same command goes on" in refused(WorkerError, "a")
    monkeypatch.setattr(PlainWorker, "ends", None)
    plainly("a")
    state = PlainWorker.last.added[3]
    assert state is not None
    assert state.name == PlainWorker.last.config.plain.state_name


@pytest.mark.parametrize(
    ("ends", "kind", "words"),
    [
        (WorkerFailed(reason="x", out_of_memory=True), OutOfMemory, "memory ran out; take --method freeze"),
        (WorkerFailed(reason="no space left", storage=True), StorageError, "no space left"),
        (SlotFailed(trial=0, reason="f: damaged"), StorageError, "f: damaged; delete "),
    ],
)
def test_what_ends_it_is_told_in_one_line(monkeypatch, ends, kind, words):
    app.train("a", ONE, storage="a.db", examples=512)
    monkeypatch.setattr(PlainWorker, "ends", ends)
    assert words in refused(kind, "a")


def test_a_search_without_a_full_length_is_refused():
    assert "begin with: tune train a" in refused(ReportError, "a")


def test_a_full_length_that_has_not_ended_is_refused(monkeypatch):
    app.train("a", ONE, storage="a.db", examples=512)
    running = dataclasses.replace(trials("a.train")[0], state="running", value=None)
    monkeypatch.setattr(Store, "trials", lambda *_: (running,))
    assert "go on with: tune resume a.train" in refused(ReportError, "a")


@pytest.mark.parametrize("part", [None, "text_config"])
def test_quantized_weights_are_refused(monkeypatch, tmp_path, part):
    app.train("a", ONE, storage="a.db", examples=512)
    shape = {"quantization_config": {"quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(shape if part is None else {part: shape}))
    monkeypatch.setattr(plain_training, "find_folder", lambda *_: tmp_path)
    assert "its weights are quantized, so full cannot train them" in refused(ModelError, "a")


def test_a_disk_without_room_is_named_before_anything_begins(monkeypatch):
    app.train("a", ONE, storage="a.db", examples=512)
    needed = 24 * study("a").facts.model.parameters
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": needed - 1}))
    assert "are free and the states of such a training take up to" in refused(StorageError, "a")
    assert PlainWorker.last is None


@pytest.mark.parametrize(
    "options", [{"method": "half"}, {"freeze_layers": 2}, {"method": "freeze", "freeze_layers": 0}]
)
def test_choices_that_make_no_sense_are_refused(options):
    app.train("a", ONE, storage="a.db", examples=512)
    said = refused(UsageError, "a", **options)
    assert all(str(value) in said for name, value in options.items() if name != "method" or len(options) == 1)


def test_a_rate_of_nought_is_refused():
    app.train("a", ONE, storage="a.db", examples=512)
    assert "learning_rate: 0" in refused(UsageError, "a", learning_rate=0.0)
