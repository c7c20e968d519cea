"""Checkpoints written side by side are those written one by one, and a full disk is not lost among them."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from loratune import digest
from loratune.errors import StorageError
from loratune.objectives.training import checkpoint
from loratune.spaces.params import FIELDS, LoraParams

METADATA = {"trial": "3"}


def state(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"params/layer.lora_A": torch.randn(4, 8, generator=generator)}


NUMBERS = 4 * 8


def writer_of(threads: int) -> checkpoint.Writer:
    return checkpoint.Writer(threads, NUMBERS)


def hand_over(
    folder: Path,
    count: int,
    threads: int = 2,
    then: Exception | None = None,
    writer: checkpoint.Writer | None = None,
) -> None:
    with writer or writer_of(threads) as writer:
        for number in range(count):
            tensors = state(number)
            if (memory := writer.memory()) is not None:
                tensors = {name: memory.view(4, 8).copy_(own) for name, own in tensors.items()}
            writer.write(folder / f"{number}", tensors, METADATA)
        if then is not None:
            raise then


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_file_holds_its_own_state_whatever_is_written_beside_it(threads: int, tmp_path: Path) -> None:
    hand_over(tmp_path, 12, threads)
    for number in range(12):
        tensors, metadata = checkpoint.read(tmp_path / f"{number}", METADATA)
        assert metadata["trial"] == "3"
        assert tensors.keys() == state(number).keys()
        assert all(torch.equal(tensors[name], own) for name, own in state(number).items())
    assert len(list(tmp_path.iterdir())) == 12, "nothing half-written is left"


def test_no_more_states_wait_in_memory_than_there_are_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, held, go_on = [], [], threading.Event()

    def slow(path: Path, *_: Any) -> None:
        begun.append(path)
        assert go_on.wait(30)

    monkeypatch.setattr(checkpoint, "write", slow)

    def hand_over_five() -> None:
        with writer_of(2) as writer:
            for number in range(5):
                writer.write(tmp_path / f"{number}", state(number), METADATA)
                held.append(number)

    thread = threading.Thread(target=hand_over_five)
    thread.start()
    thread.join(0.3)
    assert held == [0, 1]
    go_on.set()
    thread.join(30)
    assert len(begun) == len(held) == 5


@pytest.mark.parametrize("number", [0, 4])
def test_the_disk_that_was_full_for_one_of_them_is_told(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write

    def full(path: Path, *given: Any) -> None:
        if path.name == str(number):
            raise StorageError("no space left on the disk")
        write(path, *given)

    monkeypatch.setattr(checkpoint, "write", full)
    with pytest.raises(StorageError, match="no space left"):
        hand_over(tmp_path, 5)
    assert not (tmp_path / str(number)).exists()


def test_what_goes_wrong_within_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="b"):
        hand_over(tmp_path, 2, then=KeyError("b"))


def test_after_a_round_that_went_wrong_the_next_one_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(2)
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise StorageError("no space left on the disk")

        patch.setattr(checkpoint, "write", full)
        with pytest.raises(StorageError):
            hand_over(tmp_path, 5, writer=writer)
        with pytest.raises(StorageError):
            hand_over(tmp_path, 1, writer=writer)
    hand_over(tmp_path, 5, writer=writer)
    for number in range(5):
        (own,) = state(number).values()
        (there,) = checkpoint.read(tmp_path / f"{number}", METADATA)[0].values()
        assert torch.equal(there, own)


def test_memory_is_used_again_only_when_its_state_is_on_disk(tmp_path: Path) -> None:
    with writer_of(2) as writer:
        first = writer.memory()
        assert first is not None
        assert writer.memory() is first, "nothing was written from it yet"
        places = set()
        for number in range(6):
            memory = writer.memory()
            assert memory is not None
            places.add(memory.data_ptr())
            writer.write(tmp_path / f"{number}", {"params/a": memory.fill_(number)}, METADATA)
    assert len(places) <= 2
    for number in range(6):
        tensors, _ = checkpoint.read(tmp_path / f"{number}", METADATA)
        assert tensors["params/a"].tolist() == [number] * NUMBERS


def test_memory_that_was_not_waited_for_to_the_end_is_waited_for_on_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, wait = checkpoint.write, checkpoint.wait
    calls, go_on = [], threading.Event()

    def slow(*given: Any) -> None:
        assert go_on.wait(30)
        write(*given)

    def interrupted(written: Any) -> None:
        calls.append(written)
        if len(calls) == 1:
            raise KeyboardInterrupt
        go_on.set()
        wait(written)

    monkeypatch.setattr(checkpoint, "write", slow)
    monkeypatch.setattr(checkpoint, "wait", interrupted)
    writer = writer_of(1)
    with pytest.raises(KeyboardInterrupt):
        hand_over(tmp_path, 2, writer=writer)
    (own,) = state(0).values()
    (there,) = checkpoint.read(tmp_path / "0", METADATA)[0].values()
    assert torch.equal(there, own)


def test_states_that_are_large_wait_two_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint, "MOST_BYTES", 3 * 4 * NUMBERS)
    assert peak_of(checkpoint.Writer(8, NUMBERS), tmp_path) == 3
    assert peak_of(checkpoint.Writer(8, 10 * NUMBERS), tmp_path) == 2


def peak_of(writer: checkpoint.Writer, folder: Path) -> int:
    with writer:
        places = set()
        for number in range(8):
            memory = writer.memory()
            assert memory is not None
            places.add(memory.data_ptr())
            writer.write(folder / f"{number}", {"a": memory.zero_()}, METADATA)
    return len(places)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SHAPES = st.lists(st.integers(0, 5), max_size=3)


@given(shapes=st.dictionaries(NAMES, SHAPES, max_size=5), said=st.dictionaries(NAMES, NAMES, max_size=3))
def test_a_file_is_what_safetensors_reads_and_checks(
    shapes: dict[str, list[int]], said: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    shapes.pop("__metadata__", None)
    said = {key: value for key, value in said.items() if key not in digest.LABELS}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("written") / "a.safetensors"
    checkpoint.write(path, tensors, said)
    found = safetensors.torch.load_file(path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], own) for name, own in tensors.items())
    assert digest.check(path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert said.items() <= file.metadata().items()


def test_on_a_cpu_nothing_is_begun_that_could_wait_for_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", cannot)
    threads = checkpoint.writing_threads(torch.device("cpu"))
    hand_over(tmp_path, 3, threads)
    assert len(list(tmp_path.iterdir())) == 3
    assert 2 <= checkpoint.writing_threads(torch.device("cuda")) <= checkpoint.MOST_THREADS


def test_without_threads_a_checkpoint_is_there_at_once(tmp_path: Path) -> None:
    with writer_of(0) as writer:
        assert writer.memory() is None
        writer.write(tmp_path / "a", state(0), METADATA)
        assert (tmp_path / "a").is_file()


def test_a_state_of_before_a_hyperparameter_was_there_has_its_default(tmp_path: Path) -> None:
    params = LoraParams(learning_rate=1 / 3, batch_size=4, lora_rank=8, lora_alpha=16)
    expected = checkpoint.owner(3, 0, params, "data")
    for name in (name for name, one in FIELDS.items() if one.default is not None):
        older = {key: value for key, value in params.to_dict().items() if key != name}
        checkpoint.write(tmp_path / "older", state(0), {**expected, "params": json.dumps(older)})
        tensors, _ = checkpoint.read(tmp_path / "older", expected)
        assert tensors.keys() == state(0).keys()
    rooted = checkpoint.owner(3, 0, dataclasses.replace(params, use_rslora=True), "data")
    with pytest.raises(StorageError, match="params is"):
        checkpoint.read(tmp_path / "older", rooted)


@pytest.mark.parametrize("said", ["", "[]", "7", '{"learning_rate": 1}', '{"unheard_of": 1}'])
def test_a_state_whose_hyperparameters_make_no_sense_is_refused(tmp_path: Path, said: str) -> None:
    params = LoraParams(learning_rate=1 / 3, batch_size=4, lora_rank=8, lora_alpha=16)
    expected = checkpoint.trained(params, "data")
    checkpoint.write(tmp_path / "other", state(0), {**expected, "params": said})
    with pytest.raises(StorageError, match="params is"):
        checkpoint.read(tmp_path / "other", expected)
