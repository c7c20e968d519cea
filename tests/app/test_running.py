"""Which devices a study's workers are given on what the machine has now, told by pretended ones."""

import dataclasses
from typing import ClassVar

import pytest
from loratune.app import early, preparing, retraining, running, settling, workers
from loratune.app.options import RunOptions
from loratune.app.request import choose_preset, make_config, make_request
from loratune.errors import ModelError
from loratune.objectives.testing.fake import FakeWorker
from loratune.search.interrupt import StopSignal
from loratune.search.study_record import create
from loratune.storage.store import Store
from loratune.study.events import Notice
from loratune.study.records import TrialRecord


class Said:
    def __init__(self):
        self.messages = []

    def on_event(self, event):
        if isinstance(event, Notice):
            assert event.about == "device"
            self.messages.append(event.text)


class Worker:
    """Stands for a worker process and remembers what it was started with."""

    made: ClassVar[list] = []

    def __init__(self, index, log_file, threads=1, device=None, sees=None):
        self.made.append((index, device or sees, threads))
        self.closed = False

    def prepare(self, objective):
        raise ModelError("far enough")

    def close(self):
        self.closed = True


@pytest.fixture(name="study")
def make_study(tmp_path, monkeypatch):
    """Make a study of a pretended machine, and pretend what there is ``now``: ``study("cuda:0", gpus=4)``."""
    monkeypatch.setattr(workers, "ProcessWorker", Worker)
    monkeypatch.setattr(Worker, "made", [])
    monkeypatch.setattr("loratune.app.places.cores", lambda: 8)
    store = Store.open(str(tmp_path / "tune.db"), mode="create")

    def make(device, *, gpus, now, dtype="bfloat16", chosen="auto"):
        request = make_request(None, {"device": chosen})
        config = make_config(request, choose_preset(request))
        facts = FakeWorker().prepare(config.objective)
        facts = dataclasses.replace(
            facts,
            model=dataclasses.replace(facts.model, device=device, device_name="NVIDIA L4"),
            geometry=dataclasses.replace(facts.geometry, dtype=dtype),
            environment={**facts.environment, "gpus": str(gpus)} if gpus else facts.environment,
        )
        counted = []
        monkeypatch.setattr(running.machine, "count_gpus", lambda: counted.append(now) or now)
        return store, create(store, name="s", config=config, facts=facts, trials=64), counted

    yield make
    store.close()


def run(monkeypatch, store, study, *, prepared=None, early=None, **more):
    """Run a study without a search; return what the search was given and what was said."""
    given, said = {}, Said()
    monkeypatch.setattr(running.loop, "run", lambda store, study, **kwargs: given.update(kwargs))
    options = RunOptions(**more)
    running.run_study(
        store, study, options, prepared=prepared, early=early, observers=[said], stop=StopSignal()
    )
    for index in range(given["count"]):
        given["factory"](index)
    return given, said.messages


@pytest.mark.parametrize("now", [2, 8])
def test_a_resumed_study_uses_the_gpus_that_there_are_now(study, monkeypatch, now):
    store, record, _ = study("cuda:0", gpus=4, now=now)
    given, messages = run(monkeypatch, store, record)
    assert given["count"] == now
    assert Worker.made == [(index, f"cuda:{index}", 8) for index in range(now)]
    assert messages == [f"{now} GPUs are here, 4 GPUs where the study was made; workers share what is here"]


def test_a_resumed_study_without_any_gpu_says_so_before_a_worker_starts(study, monkeypatch):
    store, record, _ = study("cuda:0", gpus=1, now=0)
    with pytest.raises(ModelError, match="no GPU is found here; resume it on a machine that has one"):
        run(monkeypatch, store, record)
    assert Worker.made == []


def test_a_study_of_a_cpu_stays_there_and_no_gpu_is_counted(study, monkeypatch):
    store, record, counted = study("cpu", gpus=0, now=2, dtype="float32")
    given, messages = run(monkeypatch, store, record)
    assert {(device, threads) for _, device, threads in Worker.made} == {("cpu", 1)}
    assert given["objective"].deterministic is False
    assert messages == counted == []


def test_the_flag_reaches_the_workers_of_this_run_and_not_the_record(study, monkeypatch):
    store, record, _ = study("cuda:0", gpus=1, now=1)
    given, _ = run(monkeypatch, store, record, deterministic=True)
    assert given["objective"].deterministic is True
    assert given["deterministic"] is True
    assert record.config.objective.deterministic is False


@pytest.mark.parametrize(
    ("made_on", "gpus", "now", "dtype", "device", "threads"),
    [
        ("cpu", 0, 2, "float32", "cpu", 1),
        ("cuda:0", 2, 2, "bfloat16", "cuda:0", 8),
        ("cuda:0", 2, 0, "float32", "cpu", 1),
    ],
)
def test_a_trial_is_trained_again_where_its_study_trained(
    study, tmp_path, made_on, gpus, now, dtype, device, threads
):
    store, record, _ = study(made_on, gpus=gpus, now=now, dtype=dtype)
    trial = object.__new__(TrialRecord)
    with pytest.raises(ModelError, match="far enough"):
        retraining.train_again(store, record, trial, tmp_path)
    assert Worker.made == [(0, device, threads)]


def test_a_trial_is_not_trained_again_where_its_number_type_is_not(study, tmp_path):
    store, record, _ = study("cuda:0", gpus=2, now=0)
    with pytest.raises(ModelError, match="the study was made on NVIDIA L4, and no GPU is found here"):
        retraining.train_again(store, record, object.__new__(TrialRecord), tmp_path)
    assert Worker.made == []


def test_a_gpu_that_is_not_there_is_found_before_anything_starts(study, monkeypatch, tmp_path):
    study("cpu", gpus=0, now=2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started = []
    with pytest.raises(ModelError, match="'cuda:99' is not there, there are 2, cuda:0 to cuda:1"):
        preparing.prepare(
            make_request(None, {"device": "cuda:99"}),
            logs=tmp_path / "logs",
            cache=None,
            starting=lambda: started.append(1),
        )
    assert started == Worker.made == []
    assert not (tmp_path / "logs").exists()


def test_what_cannot_be_cleaned_up_hides_no_error(monkeypatch, tmp_path):
    def refuse(*_args, **_options):
        raise PermissionError("not yours")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("os.rmdir", refuse)
        with pytest.raises(ModelError, match="the reason"), settling.scratch():
            raise ModelError("the reason")


def test_a_worker_that_was_started_early_is_taken_where_it_fits(study, monkeypatch, tmp_path):
    store, record, _ = study("cpu", gpus=0, now=0, dtype="float32")
    first = preparing.PreparedStudy(config=record.config, facts=record.facts, worker=Worker(0, None))
    with early.EarlyWorkers() as others:
        others.start(tmp_path, ("cpu", "cuda:2"))
        started = others.all
        Worker.made.clear()
        given, _ = run(monkeypatch, store, record, prepared=first, early=others)
        assert given["count"] > 3
        assert [index for index, _, _ in Worker.made] == [0, *range(2, given["count"])]
        assert [worker.closed for worker in started] == [False, True]
    assert [worker.closed for worker in started] == [True, True]


def test_workers_are_counted_for_the_slots_of_this_run(study, monkeypatch):
    store, record, _ = study("cpu", gpus=0, now=0, dtype="float32")
    memory = dataclasses.replace(
        record.facts.memory,
        base_bytes=2**30,
        slot_bytes=2**28,
        worker_bytes=2**30,
        available_bytes=12 * 2**30,
    )
    record = dataclasses.replace(record, facts=dataclasses.replace(record.facts, slots=8, memory=memory))
    monkeypatch.setattr(running.machine, "free_ram", lambda: 12 * 2**30)

    def count(**more):
        return run(monkeypatch, store, record, **more)[0]["count"]

    first = preparing.PreparedStudy(config=record.config, facts=record.facts, worker=Worker(0, None))
    assert count() == count(prepared=first) == 3  # 4 GiB each, as the study was made
    assert count(slots=64) == 1  # 18 GiB
    assert count(slots=64, prepared=first) == 3  # memory did not take more than 8
    store.acquire(record.id)
    store.add_event(record.id, "slots", slots=4, worker=0, reason="memory ran out")
    assert count() == count(prepared=first) == 4  # 3 GiB
    assert count(slots=16) == 2  # 6 GiB: what is asked for is what is used
