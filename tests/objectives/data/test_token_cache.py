from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loratune.objectives.data import token_cache

KEY = "ab" * 32
ARRAYS = {
    "train/tokens": np.arange(1000, dtype=np.int32),
    "train/offsets": np.array([0, 7, 1000], dtype=np.int64),
    "train/target": np.arange(1000) % 3 == 0,
    "test/tokens": np.empty(0, np.int32),
}
SUMMARY = {"rendered": "⟦é⟧", "train": 2}

Loaded = tuple[dict[str, Any], dict[str, Any]]


def _load(folder: Path, key: str = KEY) -> Loaded | None:
    return token_cache.load(folder, key, lambda arrays, summary: (arrays, summary))


def _path(folder: Path) -> Path:
    return token_cache.path_of(folder, KEY)


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    token_cache.store(folder, KEY, ARRAYS, SUMMARY)
    loaded = _load(folder)
    assert loaded is not None
    arrays, summary = loaded
    assert summary == SUMMARY
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_loaded_arrays_are_mapped_and_read_only(tmp_path: Path) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    arrays, _ = _load(tmp_path) or ({}, {})
    for array in arrays.values():
        assert not array.flags.writeable
        assert not array.flags.owndata


def test_without_a_folder_nothing_is_kept() -> None:
    token_cache.store(None, KEY, ARRAYS, SUMMARY)
    assert token_cache.load(None, KEY, lambda *_: 1) is None


def test_another_key_is_not_found(tmp_path: Path) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    assert _load(tmp_path, "cd" * 32) is None


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 100, 0.5, -1])
def test_a_torn_file_is_as_good_as_none(
    tmp_path: Path, keep: float, caplog: pytest.LogCaptureFixture
) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    path = _path(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else int(keep)])
    with caplog.at_level(logging.WARNING):
        assert _load(tmp_path) is None
    assert "made again" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 64,
        b"\x02" + b"\0" * 7 + b"[]",
        b"\x02" + b"\0" * 7 + b"{}" + b"x" * 20,
        b"\x10" + b"\0" * 7 + b"not json at all!",
    ],
)
def test_a_foreign_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    _path(tmp_path).write_bytes(content)
    assert _load(tmp_path) is None


def test_a_flipped_bit_anywhere_in_the_arrays_is_noticed(tmp_path: Path) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    path = _path(tmp_path)
    whole = path.read_bytes()
    for at in (len(whole) - 1, len(whole) - 2000, len(whole) - 5000):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert _load(tmp_path) is None, at


def test_every_flipped_bit_of_a_file_is_noticed_header_and_summary_included(tmp_path: Path) -> None:
    token_cache.store(tmp_path, KEY, {"tokens": np.arange(8, dtype=np.int32)}, SUMMARY)
    content = bytearray(_path(tmp_path).read_bytes())
    assert _load(tmp_path) is not None
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        _path(tmp_path).write_bytes(content)
        assert _load(tmp_path) is None, f"bit {bit}"
        content[bit // 8] ^= 1 << bit % 8
    _path(tmp_path).write_bytes(content)
    assert _load(tmp_path) is not None


def test_a_file_of_another_study_s_shape_is_as_good_as_none(tmp_path: Path) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, {})
    assert token_cache.load(tmp_path, KEY, lambda _, summary: summary["train"]) is None


def test_a_disk_that_takes_nothing_costs_only_the_sharing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with caplog.at_level(logging.WARNING):
        token_cache.store(blocked / "cache", KEY, ARRAYS, SUMMARY)
    assert "could not be kept" in caplog.text
    assert _load(blocked / "cache") is None


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    assert list(tmp_path.iterdir()) == []


def _store_often(folder: str, start: Any) -> None:
    start.wait()
    for _ in range(20):
        token_cache.store(Path(folder), KEY, ARRAYS, SUMMARY)
        assert _load(Path(folder)) is not None


def test_writers_at_the_same_time_do_no_harm(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start = context.Event()
    writers = [context.Process(target=_store_often, args=(str(tmp_path), start)) for _ in range(3)]
    for writer in writers:
        writer.start()
    start.set()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == [_path(tmp_path).name]


def _find(folder: Path | None, rendered: str = "⟦é⟧") -> Loaded | None:
    return token_cache.find(
        folder,
        lambda summary: bool(summary["rendered"] == rendered),
        lambda arrays, summary: (arrays, summary),
    )


def test_what_is_stored_is_found_by_its_summary_beside_files_that_nobody_can_read(tmp_path: Path) -> None:
    (tmp_path / "tokens-0.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "tokens-1.safetensors").write_bytes(b"")
    token_cache.store(tmp_path, "00" * 32, {"train/tokens": np.arange(2, dtype=np.int32)}, {"rendered": "é"})
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    found = _find(tmp_path)
    assert found is not None
    assert found[1] == SUMMARY
    assert np.array_equal(found[0]["train/tokens"], ARRAYS["train/tokens"])
    assert _find(tmp_path, "another") is None
    assert _find(tmp_path / "nowhere") is None
    assert _find(None) is None


def test_what_is_damaged_is_not_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token_cache.store(tmp_path, KEY, ARRAYS, SUMMARY)
    content = bytearray(_path(tmp_path).read_bytes())
    content[-1] ^= 1
    _path(tmp_path).write_bytes(content)
    assert _find(tmp_path) is None
    assert "not usable" in caplog.text
