"""A search on several GPUs: a worker process on each, which sees that one alone, whatever becomes of one."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from loratune import app
from loratune.app import early, places, preparing, running, workers
from loratune.errors import DeviceLost, OutOfMemory, UsageError
from loratune.objectives.workers.process import ProcessWorker
from loratune.storage.store import Store
from loratune.study.events import Event
from loratune.study.sentences import sentence

HERE = Path(__file__).parent
SEEN = re.compile(r"^sees (.*), asked for (\w+), told (\w+), slots (\w+)$", re.MULTILINE)

Machine = Callable[..., None]


class Heard:
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def on_event(self, event: Event) -> None:
        if (words := sentence(event)) is not None:
            self.sentences.append(words)


@pytest.fixture(name="machine")
def pretend_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretend GPUs: ``machine(3, "5,GPU-77,2", **{"GPU-77": "lost"})``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUNE_STORAGE", raising=False)
    monkeypatch.syspath_prepend(HERE)
    session = "pretended_gpus:PretendedSession"
    monkeypatch.setattr(workers, "ProcessWorker", functools.partial(ProcessWorker, session=session))
    monkeypatch.setattr(early, "free_ram", lambda: 2**40)

    def machine(gpus: int, visible: str, **like: str) -> None:
        for module in (preparing, early, places):
            if hasattr(module, "threads_on"):
                monkeypatch.setattr(module, "threads_on", lambda device: 2 if device != "cpu" else 1)
        monkeypatch.setattr(preparing, "may_take_gpu", lambda device: device != "cpu")
        monkeypatch.setattr(running, "threads_on", lambda _: 2)
        monkeypatch.setattr("loratune.objectives.machine.count_gpus", lambda: gpus)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setenv("PRETENDED", ",".join(f"{name}={what}" for name, what in like.items()))

    return machine


def seen(index: int) -> list[tuple[str, ...]]:
    """Return what the processes of a worker's index said that they see."""
    return SEEN.findall(Path(f"tune-artifacts/logs/worker-{index}.log").read_text())


def trained() -> set[str]:
    with Store.open("tune.db", mode="read") as store:
        return {trial.state for trial in store.trials(store.study(None).id)}


def test_each_worker_sees_its_own_gpu_and_the_first_alone_looks(machine: Machine) -> None:
    machine(2, "5, GPU-77,-1,3")
    done = app.start(app.SearchOptions(trials=8))
    assert done.ended.why == "complete"
    assert seen(0) == [("5", "auto", "False", "None")]
    assert seen(1) == [("GPU-77", "cuda", "True", "4")]
    with Store.open("tune.db", mode="read") as store:
        assert store.study(None).facts.environment["gpus"] == "2"


def test_a_gpu_that_was_named_is_the_only_one(machine: Machine) -> None:
    machine(2, "5,GPU-77")
    app.start(app.SearchOptions(trials=4, device="cuda:1"))
    assert seen(0) == [("GPU-77", "cuda", "False", "None")]
    assert not Path("tune-artifacts/logs/worker-1.log").exists()


def test_a_single_core_hides_no_gpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(2, "5,GPU-77")
    for module in (preparing, early, places, running):
        monkeypatch.setattr(module, "threads_on", lambda _: 1)
    app.start(app.SearchOptions(trials=4, device="cuda:1"))
    assert [name for name, *_ in seen(0)] == ["GPU-77"]


@pytest.mark.parametrize(("device", "gpus"), [("cuda", 2), ("cuda:1", 1)])
def test_more_workers_than_gpus_can_be_shared_by_are_refused_before_anything_starts(
    machine: Machine, device: str, gpus: int
) -> None:
    machine(2, "5,GPU-77")
    with pytest.raises(UsageError, match=f"--workers 9: at most 4 share a GPU, and {gpus} can be used"):
        app.start(app.SearchOptions(trials=4, device=device), app.RunOptions(workers=9))
    assert not Path("tune-artifacts").exists()


def test_more_workers_than_gpus_share_them(machine: Machine) -> None:
    machine(2, "5,GPU-77")
    app.start(app.SearchOptions(trials=24), app.RunOptions(workers=3))
    assert [[name for name, *_ in seen(index)] for index in range(3)] == [["5"], ["GPU-77"], ["5"]]


def test_a_first_gpu_that_is_lost_is_left_to_the_last_worker_and_one_line_says_so(machine: Machine) -> None:
    machine(2, "5,GPU-77", **{"5": "lost"})
    heard = Heard()
    app.start(app.SearchOptions(trials=8), observers=[heard])
    assert trained() <= {"complete", "pruned"}
    assert [name for name, *_ in seen(0)] == ["5", "GPU-77"]
    said = [line for line in heard.sentences if "GPU cannot be used" in line]
    assert said[0].startswith(
        "cuda:0: worker 0: its GPU cannot be used (CUDA error: CUDA-capable device(s) is/"
    )
    assert said[1].startswith("worker 1 is given up after 1 start: worker 1: its GPU cannot be used")
    assert len(said) == 2


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("lost", "worker 1 is given up after 1 start: worker 1: its GPU cannot be used"),
        ("other", "worker 1 is given up after 1 start: model: its number type is not that of the study"),
        ("full:0", "worker 1 is given up after 1 start: worker 1: memory ran out with one trial at a time"),
    ],
)
def test_the_others_go_on_without_a_gpu_that_is_lost_full_or_of_another_kind(
    machine: Machine, what: str, words: str
) -> None:
    machine(2, "5,GPU-77", **{"GPU-77": what})
    heard = Heard()
    app.start(app.SearchOptions(trials=8), observers=[heard])
    assert trained() <= {"complete", "pruned"}
    assert next(line for line in heard.sentences if "given up" in line).startswith(words)
    with Store.open("tune.db", mode="read") as store:
        assert store.events(store.study(None).id, "slots") == ()


def test_a_card_that_others_hold_a_part_of_takes_fewer_and_the_rest_as_many_as_before(
    machine: Machine,
) -> None:
    machine(2, "5,GPU-77", **{"GPU-77": "full:1"})
    app.start(app.SearchOptions(trials=24))
    assert trained() <= {"complete", "pruned"}
    assert [slots for *_, slots in seen(1)] == ["4", "2", "1"]
    with Store.open("tune.db", mode="read") as store:
        assert store.events(store.study(None).id, "slots") == ()


def test_where_no_gpu_can_be_used_the_last_ones_reason_ends_it(machine: Machine) -> None:
    machine(2, "5,GPU-77", **{"5": "full:0", "GPU-77": "lost"})
    with pytest.raises(DeviceLost, match="worker 0: its GPU cannot be used"):
        app.start(app.SearchOptions(trials=4))
    machine(2, "5,GPU-77", **{"5": "full:0", "GPU-77": "full:0"})
    with pytest.raises(OutOfMemory, match="memory ran out with one trial at a time"):
        app.start(app.SearchOptions(trials=4))


def test_a_study_goes_on_with_more_gpus_and_with_fewer(machine: Machine) -> None:
    machine(1, "5")
    app.start(app.SearchOptions(trials=4))
    machine(2, "5,GPU-77")
    heard = Heard()
    app.resume(trials=12, observers=[heard])
    assert "2 GPUs are here, 1 GPU where the study was made; workers share what is here" in heard.sentences
    assert seen(1)[-1] == ("GPU-77", "cuda", "True", "4")
    machine(1, "GPU-77")
    app.resume(trials=16)
    assert seen(0)[-1][0] == "GPU-77"
    assert trained() <= {"complete", "pruned"}
