"""Checkpoints of a session: what they hold, when they get their name, and which are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import safetensors.torch
from loratune.errors import StorageError
from loratune.objectives.training import checkpoint
from loratune.objectives.training.session import Session
from trained_trials import PARAMS, numbers, step


def test_a_checkpoint_of_another_trial_or_of_none_is_refused(session: Session, alone, tmp_path: Path) -> None:
    path = alone[1][0].file
    with pytest.raises(StorageError, match=r"trial is '1'"):
        session.add(2, PARAMS[1], seed=0, attempt=2, resume_from=path)
    with pytest.raises(StorageError, match="params"):
        session.add(1, PARAMS[2], seed=0, attempt=2, resume_from=path)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path.read_bytes()[:200])
    silent = tmp_path / "silent.safetensors"
    tensors, metadata = checkpoint.read(path, {})
    checkpoint.write(silent, tensors, {key: metadata[key] for key in metadata if key != "examples"})
    for bad, why in (
        (torn, "damaged"),
        (tmp_path / "missing.safetensors", "cannot be read"),
        (silent, "does not say where it stood: 'examples'"),
    ):
        with pytest.raises(StorageError, match=why):
            session.add(1, PARAMS[1], seed=0, attempt=2, resume_from=bad)
    # A refusal leaves the session as it was.
    session.add(1, PARAMS[1], seed=0, attempt=2, resume_from=path)
    assert numbers(step(session, tmp_path, attempt=2)[1]) == numbers(alone[1][1])
    session.remove(1)


def test_a_checkpoint_holds_the_live_rank_and_targets_alone(alone) -> None:
    tensors = safetensors.torch.load_file(alone[3][-1].file)
    layers = {key.split("/")[1].rpartition(".lora_")[0] for key in tensors}
    assert {layer.rpartition(".")[2] for layer in layers} == {"q_proj", "down_proj"}
    assert {key.split("/")[0] for key in tensors} == {"params", "exp_avg", "exp_avg_sq"}
    shapes = {tuple(tensor.shape) for key, tensor in tensors.items() if key.endswith("q_proj.lora_B")}
    assert shapes == {(32, 8)}


def test_a_full_disk_is_one_error_that_says_what_to_do(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    session.add(1, PARAMS[1], seed=0, attempt=1)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"no space left.*tune resume"):
        list(session.train_round(tmp_path))
    session.remove(1)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_gets_its_name_only_once_its_bytes_are_on_disk(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    def renamed(path: Path, target: Path) -> Path:
        done.append("name")
        return rename(path, target)

    session.add(1, PARAMS[1], seed=0, attempt=1)
    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    list(session.train_round(tmp_path))
    session.remove(1)
    assert done == ["file", "name", "folder"]
