"""The fake worker's own promises; what it shares with the real one is in test_process.py."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from loratune import digest
from loratune.errors import DataError
from loratune.objectives.base import Done, RoundProgress, SlotFailed, WorkerEvent, WorkerFailed
from loratune.objectives.testing.clock import ManualClock
from loratune.objectives.testing.fake import FakeFleet, FakePlan, FakeWorker, Fault
from loratune.objectives.testing.surface import Surface, eval_tokens, example_losses
from loratune.spaces.params import LoraParams
from loratune.study.checkpoint_format import checkpoint_name
from loratune.study.config import DataConfig, ModelConfig, ObjectiveConfig

CONFIG = ObjectiveConfig(
    model=ModelConfig(name_or_path="fake"),
    data=DataConfig(train="train.jsonl"),
    batch_sizes=(4, 8, 16),
    lora_ranks=(2, 16),
    lora_targets=("all",),
)


def params(learning_rate: float = 1e-2, batch_size: int = 8, lora_rank: int = 8) -> LoraParams:
    return LoraParams(
        learning_rate=learning_rate, batch_size=batch_size, lora_rank=lora_rank, lora_alpha=2.0 * lora_rank
    )


def ready(fleet: FakeFleet, index: int = 0, trials: int = 1) -> FakeWorker:
    worker = fleet(index)
    worker.prepare(CONFIG)
    for trial in range(trials):
        worker.add(trial, params(), seed=trial, attempt=0, resume_from=None)
    return worker


def train_round(worker: FakeWorker, folder: Path) -> WorkerEvent:
    """Train a round and return what ended it."""
    worker.start(folder)
    event = worker.poll(1)
    while isinstance(event, RoundProgress):
        event = worker.poll(1)
    assert event is not None
    return event


def test_the_loss_has_an_optimum_in_the_learning_rate() -> None:
    losses = [Surface().loss(params(rate)) for rate in (3e-4, 2e-3, 2e-2, 5e-2)]
    assert losses[0] > losses[1] > losses[2] < losses[3]


def test_the_loss_falls_with_every_round_and_with_the_rank() -> None:
    losses = [Surface().loss(params(), round_number) for round_number in range(1, 9)]
    assert losses == sorted(losses, reverse=True)
    assert Surface().loss(params(lora_rank=16)) < Surface().loss(params(lora_rank=2))


def test_larger_batches_want_a_larger_learning_rate() -> None:
    rates = np.logspace(-3, -1, 60)

    def best(batch_size: int) -> float:
        return min(rates, key=lambda rate: Surface().loss(params(float(rate), batch_size)))

    assert best(4) < best(8) < best(32)


def test_a_trial_diverges_above_the_edge_and_sooner_far_above() -> None:
    surface = Surface()
    assert surface.diverges_at(params(5e-2)) is None
    just, far = surface.diverges_at(params(0.1)), surface.diverges_at(params(0.5))
    assert just is not None
    assert far is not None
    assert far < just


def test_a_smaller_evaluation_set_is_the_beginning_of_the_larger_one() -> None:
    small = example_losses(Surface(), params(), 8, "ab" * 32, 40)
    large = example_losses(Surface(), params(), 8, "ab" * 32, 150)
    assert np.array_equal(large[:40], small)
    assert np.array_equal(eval_tokens(150)[:40], eval_tokens(40))


def test_two_configs_differ_less_on_one_example_than_examples_differ() -> None:
    one = example_losses(Surface(), params(1e-2), 8, "ab" * 32, 200) / eval_tokens(200)
    other = example_losses(Surface(), params(1.2e-2), 8, "cd" * 32, 200) / eval_tokens(200)
    assert (one - other).std() < 0.5 * one.std()


def test_equal_trials_get_equal_numbers_and_other_seeds_others(tmp_path: Path) -> None:
    worker = FakeWorker()
    worker.prepare(CONFIG)
    for trial, seed in enumerate((0, 0, 1)):
        worker.add(trial, params(), seed=seed, attempt=0, resume_from=None)
    done = train_round(worker, tmp_path)
    assert isinstance(done, Done)
    first, twin, third = done.results
    assert first.eval_losses == twin.eval_losses
    assert first.eval_losses != third.eval_losses


def sealed(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    content = safetensors.numpy.save(tensors, metadata={**metadata, **digest.LABELS})
    return b"".join(digest.seal(content))


def test_what_a_checkpoint_holds_goes_into_every_later_loss(tmp_path: Path) -> None:
    worker = ready(FakeFleet())
    done = train_round(worker, tmp_path)
    assert isinstance(done, Done)
    path = tmp_path / checkpoint_name(0, 1, 0)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    forged = tmp_path / "forged.safetensors"
    forged.write_bytes(sealed(tensors, {**metadata, "state": "00" * 32}))

    def second_round(checkpoint: Path) -> tuple[float, ...]:
        again = FakeWorker()
        again.prepare(CONFIG)
        again.add(0, params(), seed=0, attempt=1, resume_from=checkpoint)
        done = train_round(again, tmp_path / "again")
        assert isinstance(done, Done)
        assert done.results[0].eval_losses is not None
        return done.results[0].eval_losses

    assert second_round(path) == second_round(path)
    assert second_round(forged) != second_round(path)


def test_a_checkpoint_has_the_true_format(tmp_path: Path) -> None:
    done = train_round(ready(FakeFleet()), tmp_path)
    assert isinstance(done, Done)
    path = tmp_path / checkpoint_name(0, 1, 0)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        groups = {name.partition("/")[0] for name in file.keys()}  # noqa: SIM118
        matrix = file.get_tensor("params/fake.layers.0.q_proj.lora_A")
    assert metadata["format"] == digest.FORMAT
    assert LoraParams.from_dict(json.loads(metadata["params"])) == params()
    assert groups == {"params", "exp_avg", "exp_avg_sq"}
    assert matrix.shape == (8, 4)


def test_an_adapter_without_moments_cannot_be_resumed(tmp_path: Path) -> None:
    done = train_round(ready(FakeFleet()), tmp_path)
    assert isinstance(done, Done)
    path = tmp_path / checkpoint_name(0, 1, 0)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys() if name.startswith("params/")}  # noqa: SIM118
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(sealed(tensors, metadata))
    worker = FakeWorker()
    worker.prepare(CONFIG)
    worker.add(0, params(), seed=0, attempt=1, resume_from=adapter)
    event = worker.poll(0)
    assert isinstance(event, SlotFailed)
    assert "no optimizer state" in event.reason


def test_a_worker_dies_in_the_round_it_was_told_to_and_its_successor_lives(tmp_path: Path) -> None:
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="die", worker=1, nth=2),)))
    healthy, doomed = ready(fleet, 0), ready(fleet, 1)
    for _ in range(2):
        assert isinstance(train_round(healthy, tmp_path / "0"), Done)
    assert isinstance(train_round(doomed, tmp_path / "1"), Done)
    failed = train_round(doomed, tmp_path / "1")
    assert isinstance(failed, WorkerFailed)
    assert not failed.out_of_memory
    assert doomed.poll(0) is None
    assert len(list((tmp_path / "1").iterdir())) == 1
    assert isinstance(train_round(ready(fleet, 1), tmp_path / "again"), Done)


def test_a_deadly_trial_kills_every_worker_it_is_in(tmp_path: Path) -> None:
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="die", trial=1, round=1, times=None),)))
    assert isinstance(train_round(ready(fleet, 0, trials=3), tmp_path), WorkerFailed)
    assert isinstance(train_round(ready(fleet, 0, trials=2), tmp_path), WorkerFailed)
    assert isinstance(train_round(ready(fleet, 0, trials=1), tmp_path), Done)


def test_a_fault_happens_as_often_as_it_says(tmp_path: Path) -> None:
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="die", trial=0, times=2),)))
    ends = [type(train_round(ready(fleet), tmp_path)) for _ in range(3)]
    assert ends == [WorkerFailed, WorkerFailed, Done]


def test_a_worker_that_dies_after_saving_leaves_files_that_nobody_heard_of(tmp_path: Path) -> None:
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="die_after_saving"),)))
    assert isinstance(train_round(ready(fleet, trials=2), tmp_path), WorkerFailed)
    assert len(list(tmp_path.iterdir())) == 2


def test_memory_runs_out_above_a_number_of_slots(tmp_path: Path) -> None:
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="out_of_memory", slots_above=2, times=None),)))
    failed = train_round(ready(fleet, trials=3), tmp_path)
    assert isinstance(failed, WorkerFailed)
    assert failed.out_of_memory
    assert isinstance(train_round(ready(fleet, trials=2), tmp_path), Done)


def test_a_hung_worker_says_nothing_while_time_passes(tmp_path: Path) -> None:
    clock = ManualClock()
    fleet = FakeFleet(FakePlan(faults=(Fault(kind="hang"),), clock=clock))
    worker = ready(fleet)
    worker.start(tmp_path)
    assert [worker.poll(10.0) for _ in range(5)] == [None] * 5
    assert clock.now() == 50.0
    worker.close()


def test_a_slow_round_takes_its_time_on_the_plan_clock(tmp_path: Path) -> None:
    clock = ManualClock()
    fleet = FakeFleet(FakePlan(round_seconds=lambda worker, trials: 4.0 * trials, clock=clock))
    worker = ready(fleet, trials=2)
    worker.start(tmp_path)
    events = [worker.poll(3.0) for _ in range(4)]
    assert [type(event) for event in events] == [type(None), RoundProgress, type(None), Done]
    assert clock.now() == 8.0


def test_a_trial_is_told_to_fail_or_to_diverge(tmp_path: Path) -> None:
    faults = (Fault(kind="slot_fails", trial=0), Fault(kind="diverge", trial=1, round=1))
    worker = ready(FakeFleet(FakePlan(faults=faults)), trials=3)
    failed = worker.poll(0)
    assert isinstance(failed, SlotFailed)
    assert failed.trial == 0
    done = train_round(worker, tmp_path)
    assert isinstance(done, Done)
    one, two = done.results
    assert (one.trial, one.diverged is None, math.isnan(one.train_loss)) == (1, False, True)
    assert (two.trial, two.diverged) == (2, None)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint_name(2, 1, 0)]


def test_prepare_raises_what_the_plan_says() -> None:
    fleet = FakeFleet(FakePlan(prepare_error=DataError("train.jsonl: not a file")))
    with pytest.raises(DataError, match=r"train\.jsonl"):
        fleet(0).prepare(CONFIG)


def test_a_fleet_remembers_every_call(tmp_path: Path) -> None:
    fleet = FakeFleet()
    first, second = fleet.workers(2)
    first.prepare(CONFIG)
    second.prepare(CONFIG)
    second.add(7, params(), seed=0, attempt=0, resume_from=None)
    second.start(tmp_path)
    second.close()
    assert fleet.calls == [
        (0, "prepare", ()),
        (1, "prepare", ()),
        (1, "add", (7,)),
        (1, "start", (7,)),
        (1, "close", ()),
    ]
