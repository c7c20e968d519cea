"""No damage to a file goes unseen, and files of before are still read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from loratune import digest
from loratune.errors import DamagedFile
from safetensors import safe_open
from safetensors.numpy import save


def sealed(path: Path, numbers: int = 8) -> Path:
    """Write a sealed file of so many numbers."""
    values = np.random.default_rng(0).normal(size=numbers).astype(np.float32)
    tensors = {"params/q_proj.lora_A": values}
    content = save(tensors, metadata={"trial": "3", "params": '{"digest":"no"}', **digest.LABELS})
    with path.open("wb") as file:
        file.writelines(digest.seal(content))
    return path


def is_found(path: Path) -> bool:
    try:
        digest.check(path)
    except DamagedFile as error:
        return str(path) in str(error)
    return False


def test_a_sealed_file_is_whole_and_a_plain_safetensors_file(tmp_path):
    path = sealed(tmp_path / "a")
    assert digest.check(path)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["trial"] == "3"
        assert file.metadata()["digest"] != digest.BLANK
        assert file.get_tensor("params/q_proj.lora_A").shape == (8,)


def test_every_single_bit_counts(tmp_path):
    path = sealed(tmp_path / "a")
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        assert is_found(path), f"bit {place % 8} of byte {place // 8}"


def test_a_thousand_random_damages_are_found(tmp_path):
    path = sealed(tmp_path / "a", 16_384)
    whole = path.read_bytes()
    dice = random.Random(7)
    for number in range(1000):
        damaged = bytearray(whole)
        kind = dice.choice(["bits", "block", "cut", "longer"])
        if kind == "bits":
            for _ in range(dice.choice([1, 2, 3, 64])):
                damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        elif kind == "block":
            start = 4096 * dice.randrange(len(whole) // 4096)
            damaged[start : start + 4096] = bytes(4096)
        elif kind == "cut":
            del damaged[dice.randrange(len(whole)) :]
        else:
            damaged += bytes(dice.choice([1, 4096]))
        path.write_bytes(damaged)
        assert damaged == whole or is_found(path), (number, kind)


def test_a_file_of_before_is_read_without_a_digest(tmp_path):
    path = tmp_path / "old"
    tensors = {"params/q_proj.lora_A": np.ones(3, dtype=np.float32)}
    path.write_bytes(save(tensors, metadata={"format": "loratune-1"}))
    assert not digest.check(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "loratune-2"}])
def test_a_file_that_is_not_ours_is_refused(tmp_path, metadata):
    path = tmp_path / "foreign"
    path.write_bytes(save({"a": np.ones(3, dtype=np.float32)}, metadata=metadata))
    assert is_found(path)


def test_pieces_count_as_one():
    assert digest.of(b"ab", b"c") == digest.of(memoryview(b"abc")) != digest.of(b"abd")
    assert len(digest.of(b"")) == len(digest.BLANK)
